//! `flows`: one row a flow, direction and interface, from what the kernel's side counted.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use self::owners::{Owners, can_have_one};
use super::Span;
use super::packets::{Flow, ends, protocol};
use super::processes::Process;
use crate::filter::{Facts, Filter};
use crate::names::Names;
use crate::sample::{DropFlow, FlowDirection, FlowKey, FlowRecord, Sample, SocketRecord};

mod owners;

/// What stands for the protocol of all that the table had no room for.
const OTHER: &str = "other";
/// No process's id, nor a user's.
const NOBODY: u32 = u32::MAX;
/// TCP's flags, from the lowest bit on.
const TCP_FLAGS: [char; 8] = ['F', 'S', 'R', 'P', 'A', 'U', 'E', 'C'];

/// A row of `flows`.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowRow {
    /// Which packets.
    pub key: FlowKey,
    /// The interface's name.
    pub interface: Arc<str>,
    /// Their protocol; `other` for what the table had no room for.
    pub proto: Arc<str>,
    /// Packets per second in the interval.
    pub packet_rate: f64,
    /// Bytes per second in the interval.
    pub byte_rate: f64,
    /// Since the start.
    pub packets: u64,
    /// Since the start, with the link layer's header.
    pub bytes: u64,
    /// TCP's flags seen, as its header numbers them; none if it isn't TCP.
    pub tcp_flags: Option<u8>,
    /// Whose socket has the end here, if that is known.
    pub owner: Option<Arc<Process>>,
    /// Since the first packet, seconds.
    pub age_s: f64,
    /// Since the last packet, seconds; to 10 ms.
    pub last_age_s: f64,
    /// It was idle for long; this is its last row.
    pub ended: bool,
}

/// What is remembered of a flow since the last reading.
#[derive(Clone, Debug, Default)]
struct Before {
    /// By which one at the same place is known to be another.
    first_ns: u64,
    packets: u64,
    bytes: u64,
    owner: Option<Arc<Process>>,
}

/// Flows as of the last sample.
#[derive(Debug, Default)]
pub(super) struct FlowTable {
    /// By the flow's number.
    before: Vec<Before>,
    /// Of what has no number: two for each interface.
    before_others: FxHashMap<FlowKey, Before>,
    owners: Owners,
    protos: FxHashMap<(u16, u8), Arc<str>>,
}

impl FlowTable {
    /// Takes in sockets that closed within the interval.
    pub(super) fn absorb(&mut self, closed: &[SocketRecord]) {
        self.owners.absorb(closed);
    }

    /// The rows that the filters let through.
    pub(super) fn advance(
        &mut self,
        sample: &Sample<'_>,
        span: Span,
        filters: [&Filter; 2],
        names: &mut Names,
    ) -> Vec<FlowRow> {
        let records = sample.flows.unwrap_or_default();
        let numbers = records.iter().filter_map(|record| record.number).max();
        let room = numbers.map_or(0, |last| last as usize + 1);
        self.before.resize(room.max(self.before.len()), Before::default());
        let is_unowned = |record: &FlowRecord| {
            let owner = |before: &Before| before.owner.is_some();
            can_have_one(&record.key) && !self.before(record).is_some_and(owner)
        };
        if records.iter().any(is_unowned) {
            self.owners.learn(sample);
        }
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let mut before = self.before(record).cloned().unwrap_or_default();
            before.owner = before.owner.or_else(|| self.owners.find(record, names));
            let row = self.row(record, &before, span);
            let FlowRecord { first_ns, packets, bytes, .. } = *record;
            let now = Before { first_ns, packets, bytes, ..before };
            self.remember(record, if record.ended { Before::default() } else { now });
            if filters.iter().all(|filter| matches(&row, record.netns, filter)) {
                rows.push(row);
            }
        }
        self.owners.forget();
        rows
    }

    /// Of the same flow.
    fn before(&self, record: &FlowRecord) -> Option<&Before> {
        let before = match record.number {
            Some(number) => self.before.get(number as usize),
            None => self.before_others.get(&record.key),
        };
        before.filter(|before| before.first_ns == record.first_ns)
    }

    fn remember(&mut self, record: &FlowRecord, before: Before) {
        match record.number {
            Some(number) => self.before[number as usize] = before,
            None => _ = self.before_others.insert(record.key, before),
        }
    }

    fn row(&mut self, record: &FlowRecord, before: &Before, span: Span) -> FlowRow {
        let key = &record.key;
        let since = |now: u64, before: u64| span.rate(now.saturating_sub(before));
        let age_s = |then: u64| span.clock_ns.saturating_sub(then) as f64 / 1e9;
        let is_tcp = key.protocol == libc::IPPROTO_TCP as u8 && !key.is_other;
        FlowRow {
            key: *key,
            interface: Arc::clone(&record.interface),
            proto: self.proto(key),
            packet_rate: since(record.packets, before.packets),
            byte_rate: since(record.bytes, before.bytes),
            packets: record.packets,
            bytes: record.bytes,
            tcp_flags: is_tcp.then_some(record.tcp_flags),
            owner: before.owner.clone(),
            age_s: age_s(record.first_ns),
            last_age_s: age_s(record.last_ns),
            ended: record.ended,
        }
    }

    fn proto(&mut self, key: &FlowKey) -> Arc<str> {
        if key.is_other {
            return OTHER.into();
        }
        let of_key = (key.ethertype, key.protocol);
        let name = || protocol((key.ethertype, key.protocol, 0)).unwrap_or_else(|| "0x0000".into());
        Arc::clone(self.protos.entry(of_key).or_insert_with(|| name().into()))
    }
}

fn matches(row: &FlowRow, netns: u32, filter: &Filter) -> bool {
    if filter.is_empty() {
        return true;
    }
    let (ends, owner) = (row.ends(), row.owner.as_deref());
    let container = owner.and_then(|owner| owner.container.as_deref());
    let cgroup = owner.and_then(|owner| owner.cgroup.as_deref());
    filter.matches(&Facts {
        proto: &row.proto,
        local: ends.map(|ends| ends.source),
        remote: ends.map(|ends| ends.destination),
        // What an expression looks for.
        state: &format!("{} {}", row.interface, row.direction()),
        pid: owner.map_or(NOBODY, |owner| owner.pid),
        comm: owner.map_or("", |owner| &owner.comm),
        uid: owner.map_or(NOBODY, |owner| owner.uid),
        netns,
        ..Facts::of_cgroup(container, cgroup)
    })
}

impl FlowRow {
    /// Where the packets came from and went to, if that is known.
    pub fn ends(&self) -> Option<Flow> {
        ends(&DropFlow {
            source: self.key.source,
            destination: self.key.destination,
            source_port: self.key.source_port,
            destination_port: self.key.destination_port,
        })
    }

    /// TCP's flags seen, as letters.
    pub fn flag_letters(&self) -> Option<String> {
        let seen = |flags: u8| {
            let all = TCP_FLAGS.into_iter().enumerate();
            all.filter(|(bit, _)| flags >> bit & 1 == 1).map(|(_, letter)| letter).collect()
        };
        self.tcp_flags.map(seen)
    }

    /// `in` or `out`.
    pub fn direction(&self) -> &'static str {
        match self.key.direction {
            FlowDirection::In => "in",
            FlowDirection::Out => "out",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::sample::{Endpoints, Losses, OwnCost, ProcessRecord};

    fn key(protocol: u8, last: u8) -> FlowKey {
        let v4 = |last| std::net::Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().octets();
        FlowKey {
            interface: 2,
            direction: FlowDirection::In,
            source: v4(last),
            destination: v4(1),
            source_port: 5000,
            destination_port: 80,
            ethertype: 0x0800,
            protocol,
            tunnel: 0,
            vlan: 0,
            inner_vlan: 0,
            icmp: 0,
            is_fragment: false,
            is_truncated: false,
            is_other: false,
        }
    }

    fn record(key: FlowKey, packets: u64) -> FlowRecord {
        FlowRecord {
            key,
            number: (!key.is_other).then_some(key.source[15].into()),
            interface: "eth0".into(),
            netns: 7,
            packets,
            bytes: packets * 100,
            first_ns: 1_000_000_000,
            last_ns: 3_500_000_000,
            tcp_flags: 0x12,
            ended: false,
        }
    }

    /// With the sockets of a sample.
    #[derive(Default)]
    struct Table {
        table: FlowTable,
        sockets: Vec<SocketRecord>,
    }

    impl Table {
        fn advance(&mut self, flows: &[FlowRecord], seconds: u64) -> Vec<FlowRow> {
            self.filtered(flows, seconds, &Filter::default())
        }

        fn filtered(
            &mut self,
            flows: &[FlowRecord],
            seconds: u64,
            filter: &Filter,
        ) -> Vec<FlowRow> {
            let sample = Sample {
                time: SystemTime::UNIX_EPOCH,
                clock_ns: seconds * 1_000_000_000,
                sockets: &self.sockets,
                socket_events: &[],
                closed: &[],
                usage: &[],
                calls_counted: true,
                ifaces: &[],
                xdp: &[],
                syscalls: None,
                drops: None,
                flows: Some(flows),
                packets: None,
                losses: Losses::default(),
                own: OwnCost::default(),
            };
            let span = Span { seconds: 2.0, clock_ns: seconds * 1_000_000_000 };
            self.table.advance(&sample, span, [filter, &Filter::default()], &mut Names::new(true))
        }
    }

    #[test]
    fn rates_are_of_the_interval_and_sums_of_the_run() {
        let mut table = Table::default();
        table.advance(&[record(key(6, 9), 10)], 2);
        let rows = table.advance(&[record(key(6, 9), 30)], 4);
        let row = &rows[0];
        assert_eq!((row.packets, row.packet_rate, row.byte_rate), (30, 10.0, 1000.0));
        assert_eq!(row.last_age_s, 0.5);
        assert_eq!((row.age_s, row.flag_letters().as_deref()), (3.0, Some("SA")));
        assert_eq!((&*row.proto, row.direction()), ("tcp", "in"));
    }

    #[test]
    fn a_flow_that_comes_back_begins_anew() {
        let mut table = Table::default();
        table.advance(&[record(key(17, 9), 10)], 2);
        let last = FlowRecord { ended: true, ..record(key(17, 9), 12) };
        let rows = table.advance(&[last], 4);
        assert_eq!((rows[0].ended, rows[0].packets, rows[0].packet_rate), (true, 12, 1.0));
        let rows = table.advance(&[record(key(17, 9), 4)], 6);
        assert_eq!((rows[0].packets, rows[0].packet_rate), (4, 2.0));
        assert_eq!(rows[0].tcp_flags, None);
    }

    #[test]
    fn what_had_no_room_and_what_is_no_ip_have_names() {
        let mut table = Table::default();
        let other = FlowKey { is_other: true, source: [0; 16], destination: [0; 16], ..key(0, 0) };
        let arp = FlowKey { ethertype: 0x0806, protocol: 0, ..key(0, 2) };
        let strange = FlowKey { ethertype: 0x88b5, ..arp };
        let records = [other, arp, strange].map(|key| record(key, 1));
        let rows = table.advance(&records, 2);
        assert_eq!(
            rows.iter().map(|row| &*row.proto).collect::<Vec<_>>(),
            ["other", "arp", "0x88b5"]
        );
        assert_eq!(rows[0].ends(), None);
    }

    /// Of a process, from 10.0.0.9:5000 to 10.0.0.1:80 or in its place.
    fn socket(pid: u32, netns: u32, change: impl FnOnce(&mut Endpoints)) -> SocketRecord {
        let FlowKey { source, destination, .. } = key(6, 9);
        let mut ends = Endpoints {
            local: source,
            remote: destination,
            local_port: 5000,
            remote_port: 80,
            netns,
            family: 2,
            protocol: 6,
        };
        change(&mut ends);
        let owner = ProcessRecord { tgid: pid, ..ProcessRecord::default() };
        SocketRecord { owner, ends, ..SocketRecord::default() }
    }

    fn turned(ends: &mut Endpoints) {
        std::mem::swap(&mut ends.local, &mut ends.remote);
        std::mem::swap(&mut ends.local_port, &mut ends.remote_port);
    }

    fn owner(sockets: &[SocketRecord], flow: FlowRecord) -> Option<u32> {
        let mut table = Table { sockets: sockets.to_vec(), ..Table::default() };
        let rows = table.advance(&[flow], 2);
        rows[0].owner.as_ref().map(|owner| owner.pid)
    }

    #[test]
    fn a_flow_s_owner_has_the_socket_of_its_end_here() {
        let received = record(key(6, 9), 1);
        let sent = record(FlowKey { direction: FlowDirection::Out, ..received.key }, 1);
        let (there, here) = (socket(1, 7, |_| {}), socket(2, 7, turned));
        assert_eq!(owner(&[there, here], received.clone()), Some(2));
        assert_eq!(owner(&[there, here], sent.clone()), Some(1));
        let listener = socket(3, 7, |ends| {
            turned(ends);
            (ends.local, ends.remote, ends.remote_port) = ([0; 16], [0; 16], 0);
        });
        assert_eq!(owner(&[there, listener], received.clone()), Some(3));
        assert_eq!(owner(&[socket(4, 7, |ends| ends.protocol = 17)], sent.clone()), None);
        // From a container, by the end of its veth here.
        assert_eq!(owner(&[socket(5, 9, |_| {})], received), Some(5));
        assert_eq!(owner(&[socket(5, 9, turned)], sent), Some(5));
    }

    #[test]
    fn an_owner_stays_when_the_socket_is_gone() {
        let mut table = Table { sockets: vec![socket(2, 7, turned)], ..Table::default() };
        table.advance(&[record(key(6, 9), 1)], 2);
        table.sockets.clear();
        let rows = table.advance(&[record(key(6, 9), 2)], 4);
        assert_eq!(rows[0].owner.as_ref().map(|owner| owner.pid), Some(2));
        let last = FlowRecord { ended: true, ..record(key(6, 9), 2) };
        assert!(table.advance(&[last], 6)[0].owner.is_some());
        assert!(table.advance(&[record(key(6, 9), 1)], 8)[0].owner.is_none());
    }

    #[test]
    fn filters_ask_for_ends_protocols_and_the_line() {
        let records = [record(key(6, 9), 1), record(key(17, 8), 1)];
        let count = |filter: &str| {
            let filter = Filter::parse(filter).unwrap();
            Table::default().filtered(&records, 2, &filter).len()
        };
        for (filter, expected) in [
            ("", 2),
            ("src:10.0.0.9", 1),
            ("dst:10.0.0.9", 0),
            ("dport:80", 2),
            ("proto:udp", 1),
            ("/eth0 in/", 2),
            ("/10.0.0.8/", 1),
            ("pid:4", 0),
            ("!comm:curl", 2),
        ] {
            assert_eq!(count(filter), expected, "{filter}");
        }
    }

    #[test]
    fn a_scope_of_a_namespace_is_that_of_the_interface() {
        let count = |netns| {
            let mut filter = Filter::default();
            filter.and_netns(netns);
            Table::default().filtered(&[record(key(6, 9), 1)], 2, &filter).len()
        };
        assert_eq!((count(7), count(8)), (1, 0));
    }
}
