//! `containers`: one row a container or systemd unit, over its processes.

use std::collections::HashMap;
use std::sync::Arc;

use super::Span;
use super::processes::ProcessEntry;
use super::sockets::Change;
use super::syscalls::SyscallRow;
use crate::names::Container;

/// A row of `containers`.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerRow {
    /// Container or unit; none for what runs in neither.
    pub container: Option<Arc<Container>>,
    /// Payload received, bytes/s.
    pub rx_rate: f64,
    /// Payload sent, bytes/s.
    pub tx_rate: f64,
    /// Payload received since the start by processes that still live or ended in this interval.
    pub rx_bytes: u64,
    /// The same, sent.
    pub tx_bytes: u64,
    /// Sockets open now that have a peer or moved bytes.
    pub connections: u64,
    /// System calls per second, if they are watched.
    pub syscall_rate: Option<f64>,
    /// Dropped on its processes' sockets since the start.
    pub drops: u64,
}

#[derive(Default)]
struct Sum {
    syscall_rate: f64,
    delta: Change,
    bytes: Change,
    connections: u64,
    drops: u64,
}

pub(super) fn rows<'a>(
    processes: impl Iterator<Item = &'a ProcessEntry>,
    syscalls: Option<&[SyscallRow]>,
    span: Span,
) -> Vec<ContainerRow> {
    let mut sums: HashMap<Option<String>, (Option<Arc<Container>>, Sum)> = HashMap::new();
    let mut sum_of = |container: &Option<Arc<Container>>, add: &mut dyn FnMut(&mut Sum)| {
        let name = container.as_ref().map(|c| c.name.clone());
        add(&mut sums.entry(name).or_insert_with(|| (container.clone(), Sum::default())).1);
    };
    let watches_calls = syscalls.is_some();
    for row in syscalls.into_iter().flatten() {
        sum_of(&row.container, &mut |sum| sum.syscall_rate += row.rate);
    }
    for entry in processes.filter(|entry| entry.shown) {
        sum_of(&entry.process.container, &mut |sum| {
            sum.delta += entry.delta;
            sum.bytes += entry.bytes;
            sum.connections += entry.connections;
            sum.drops += entry.drops;
        });
    }
    sums.into_values()
        .map(|(container, sum)| ContainerRow {
            container,
            rx_rate: span.rate_of(sum.delta.rx),
            tx_rate: span.rate_of(sum.delta.tx),
            rx_bytes: sum.bytes.bytes().rx,
            tx_bytes: sum.bytes.bytes().tx,
            connections: sum.connections,
            syscall_rate: watches_calls.then_some(sum.syscall_rate),
            drops: sum.drops,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::processes::tests::entry;
    use crate::model::sockets::tests::{A, B, C, Run, Tick, moved, tcp};
    use crate::model::{Rows, View};

    fn containers(run: &mut Run, tick: &Tick) -> Vec<ContainerRow> {
        let Rows::Containers(rows) = run.frame(View::Containers, tick).rows else {
            panic!("containers")
        };
        rows
    }

    #[test]
    fn processes_of_a_container_are_summed() {
        let entries = [
            entry(Some("docker:1"), Change { rx: 10, tx: 1 }, Change { rx: 100, tx: 50 }),
            entry(Some("docker:1"), Change { rx: 20, tx: 2 }, Change { rx: 200, tx: 60 }),
            entry(Some("docker:2"), Change { rx: 4, tx: 0 }, Change { rx: 5, tx: 6 }),
        ];
        let mut rows = rows(entries.iter(), None, Span { seconds: 2.0, clock_ns: 0 });
        rows.sort_by_key(|row| row.container.as_ref().map(|c| c.name.clone()));
        let names: Vec<_> =
            rows.iter().map(|row| row.container.as_ref().unwrap().name.as_str()).collect();
        assert_eq!(names, ["docker:1", "docker:2"]);
        assert_eq!((rows[0].rx_rate, rows[0].tx_rate), (15.0, 1.5));
        assert_eq!((rows[0].rx_bytes, rows[0].tx_bytes), (300, 110));
        assert_eq!((rows[0].connections, rows[0].drops), (4, 6));
        assert_eq!((rows[1].rx_bytes, rows[1].tx_bytes, rows[1].connections), (5, 6, 2));
    }

    #[test]
    fn what_the_filter_hid_is_not_summed() {
        let mut hidden = entry(Some("docker:1"), Change::default(), Change { rx: 1, tx: 1 });
        hidden.shown = false;
        assert!(rows([hidden].iter(), None, Span { seconds: 1.0, clock_ns: 0 }).is_empty());
    }

    #[test]
    fn processes_in_no_container_share_a_row() {
        let mut run = Run::new();
        containers(&mut run, &Tick::open(&[moved(tcp(1, A), 100, 0)]));
        let tick = Tick::open(&[
            moved(tcp(1, A), 300, 4),
            moved(tcp(2, B), 20, 0),
            moved(tcp(3, C), 1, 0),
        ]);
        let rows = containers(&mut run, &tick);
        assert_eq!(
            rows,
            [ContainerRow {
                container: None,
                rx_rate: 110.5,
                tx_rate: 2.0,
                rx_bytes: 321,
                tx_bytes: 4,
                connections: 3,
                syscall_rate: None,
                drops: 0,
            }]
        );
    }

    #[test]
    fn a_dead_process_counts_for_one_more_frame() {
        let mut run = Run::new();
        containers(&mut run, &Tick::open(&[moved(tcp(1, A), 7, 0)]));
        let rows = containers(&mut run, &Tick::closed(&[moved(tcp(1, A), 9, 0)]));
        assert_eq!((rows[0].rx_bytes, rows[0].rx_rate, rows[0].connections), (9, 1.0, 0));
        assert!(containers(&mut run, &Tick::default()).is_empty());
    }
}
