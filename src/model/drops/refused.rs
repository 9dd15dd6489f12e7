//! Connections that listeners refused, as rows beside those of dropped packets.

use std::sync::Arc;
use std::time::SystemTime;

use super::{DropTable, Lens, words};
use crate::filter::Facts;
use crate::model::ends::local;
use crate::model::events::Overflow;
use crate::model::processes;
use crate::sample::{DropFlow, DropKind, DropPlace, DropRecord};

/// Numbers of Ethernet.
const IP: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ANY_V4: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];

impl DropTable {
    /// Takes in what was refused since the last time.
    pub(in crate::model) fn refuse(
        &mut self,
        overflows: &[Overflow],
        time: SystemTime,
        lens: &mut Lens<'_>,
    ) {
        for overflow in overflows {
            let record = record(overflow, time);
            if self.by_event {
                if self.lets_refused_through(overflow, &record.place, lens) {
                    self.add(&record, lens.symbols);
                }
                continue;
            }
            match self.refused.get_mut(&record.place) {
                Some(sum) => *sum = DropRecord { count: sum.count + record.count, ..record },
                None => {
                    self.refused.insert(record.place.clone(), record);
                }
            }
        }
    }

    fn lets_refused_through(
        &mut self,
        overflow: &Overflow,
        place: &DropPlace,
        lens: &mut Lens<'_>,
    ) -> bool {
        let process = processes::process(&overflow.listener.owner, lens.names);
        let netns = lens.netns.get(place.netns);
        lens.filter.matches(&Facts {
            proto: "tcp",
            remote: local(&overflow.listener.ends),
            v6: place.is_v6(),
            state: &words(place, None),
            pid: process.pid,
            comm: &process.comm,
            uid: process.uid,
            netns: place.netns,
            netns_name: &netns,
            ..Facts::of_cgroup(process.container.as_deref(), process.cgroup.as_deref())
        })
    }
}

/// From anybody to the listener.
fn record(overflow: &Overflow, time: SystemTime) -> DropRecord {
    let ends = &overflow.listener.ends;
    let is_v4 = ends.local.starts_with(&ANY_V4[..12]);
    DropRecord {
        place: DropPlace {
            kind: DropKind::ListenOverflow,
            reason: DropKind::ListenOverflow.name().map(Arc::from),
            location: 0,
            netns: ends.netns,
            protocol: if is_v4 { IP } else { IPV6 },
            transport: 6,
            family: 0,
        },
        count: overflow.count,
        bytes: 0,
        last: time,
        last_flow: DropFlow {
            source: if is_v4 { ANY_V4 } else { [0; 16] },
            destination: ends.local,
            source_port: 0,
            destination_port: ends.local_port,
        },
        last_interface: [0; 16],
    }
}
