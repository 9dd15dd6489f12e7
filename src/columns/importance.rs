//! Which columns of a view are shown first where not all have room. They are drawn in the view's order.

use crate::model::View;

/// Keys of columns, what matters most first; those of a group are shown together or not at all.
pub(crate) fn of(view: View) -> &'static [&'static [&'static str]] {
    match view {
        View::Procs => &[
            &["pid"],
            &["comm"],
            &["rx_bytes_per_second", "tx_bytes_per_second"],
            &["connections"],
            &["retransmits"],
            &["user"],
            &["rx_bytes", "tx_bytes"],
            &["container"],
            &["drops"],
        ],
        View::Conns => &[
            &["comm"],
            &["remote_address", "remote_port"],
            &["rx_bytes_per_second", "tx_bytes_per_second"],
            &["srtt_us"],
            &["retransmits"],
            &["state"],
            &["limit"],
            &["local_port"],
            &["pid"],
            &["proto"],
            &["local_address"],
            &["rx_bytes_total", "tx_bytes_total"],
            &["cwnd"],
            &["min_rtt_us"],
            &["age_s"],
            &["rttvar_us"],
            &["send_queue_bytes", "receive_queue_bytes"],
            &["netns"],
            &["lost"],
            &["container"],
            &["ssthresh"],
        ],
        View::Hosts => &[
            &["remote_address"],
            &["rx_bytes_per_second", "tx_bytes_per_second"],
            &["connections"],
            &["srtt_us"],
            &["retransmits"],
            &["name"],
        ],
        View::Containers => &[
            &["container"],
            &["rx_bytes_per_second", "tx_bytes_per_second"],
            &["connections"],
            &["syscalls_per_second"],
            &["drops"],
            &["pod"],
            &["rx_bytes", "tx_bytes"],
        ],
        View::Ifaces => &[
            &["interface"],
            &["rx_bytes_per_second", "tx_bytes_per_second"],
            &["rx_packets_per_second", "tx_packets_per_second"],
            &["errors"],
            &["drops"],
            &["hook"],
            &["rx_bytes", "tx_bytes"],
            &["rx_packets", "tx_packets"],
            &["rx_packet_bytes", "tx_packet_bytes"],
        ],
        View::Flows => &[
            &["source_address", "destination_address"],
            &["bytes_per_second"],
            &["destination_port", "source_port"],
            &["proto"],
            &["direction"],
            &["comm"],
            &["interface"],
            &["packets_per_second"],
            &["bytes"],
            &["packets"],
            &["tcp_flags"],
            &["pid"],
            &["age_s"],
        ],
        View::Listeners => &[
            &["proto"],
            &["local_port"],
            &["local_address"],
            &["comm"],
            &["overflows"],
            &["queued"],
            &["backlog"],
            &["pid"],
            &["container"],
            &["netns"],
        ],
        View::Syscalls => &[
            &["syscall"],
            &["comm"],
            &["calls_per_second"],
            &["p99_ns"],
            &["errors"],
            &["top_errno"],
            &["pid"],
            &["avg_ns"],
            &["calls"],
            &["total_ns"],
            &["p50_ns"],
            &["max_ns"],
            &["share_percent"],
            &["p90_ns"],
            &["user"],
            &["container"],
        ],
        View::Drops => &[
            &["reason"],
            &["location"],
            &["count"],
            &["per_second"],
            &["last_flow"],
            &["proto"],
            &["last_age_s"],
            &["dropped_bytes"],
            &["last_interface"],
            &["last_netns"],
        ],
    }
}

/// The places of columns by their keys, in groups as above, without what has none.
pub(crate) fn groups(view: View, place: impl Fn(&str) -> Option<usize>) -> Vec<Vec<usize>> {
    let places = |group: &&[&str]| group.iter().filter_map(|key| place(key)).collect();
    of(view).iter().map(places).filter(|group: &Vec<usize>| !group.is_empty()).collect()
}

/// Which columns have room in so many cells, with a gap between two. A group is taken whole; where it has no room,
/// one behind it may have.
pub(crate) fn fitting(
    groups: impl IntoIterator<Item = Vec<usize>>,
    width_of: impl Fn(usize) -> usize,
    gap: usize,
    width: usize,
) -> Vec<usize> {
    // The last one has no gap behind it.
    let mut left = width + gap;
    let mut taken = Vec::new();
    for group in groups {
        let widths = group.iter().map(|column| width_of(*column) + gap).sum();
        if let Some(rest) = left.checked_sub(widths) {
            left = rest;
            taken.extend(group);
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns;

    #[test]
    fn what_matters_less_may_have_room_where_more_has_none() {
        let widths = [3, 4, 9, 2];
        let fit =
            |width| fitting([vec![2], vec![0, 1], vec![3]], |column| widths[column], 2, width);
        assert_eq!(fit(24), [2, 0, 1, 3]);
        assert_eq!(fit(23), [2, 0, 1]);
        assert_eq!(fit(19), [2, 3]);
        assert_eq!(fit(9), [2]);
        assert_eq!(fit(8), [3]);
        assert_eq!(fit(1), [0; 0]);
    }

    #[test]
    fn every_key_is_a_column_and_every_usual_column_is_here() {
        for view in View::ALL {
            let keys: Vec<&str> = of(view).iter().flat_map(|group| group.iter().copied()).collect();
            assert!(keys.iter().all(|key| columns::find(view, key).is_ok()), "{view}");
            let usual = columns::of_view(view).into_iter().filter(|column| column.shown);
            usual.for_each(|column| assert!(keys.contains(&column.key), "{view} {}", column.key));
        }
    }
}
