//! The flow probe: loads `flows.bpf.c`, attaches it to the interfaces that are wanted, those that come
//! later too, and reads what each flow had since the start.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use caps::Capability;
use libbpf_rs::skel::{OpenSkel, Skel};
use libbpf_rs::{MapCore, MapFlags};
use plain::Plain;
use rustc_hash::FxHashMap;

use crate::netns::{self, Netns};
use crate::packet::filter::Filter;
use crate::probes::batches::Batches;
use crate::probes::climb::{Failure, climb};
use crate::probes::interfaces::Interface;
use crate::probes::ladder::{Choice, Standing};
use crate::probes::losses;
use crate::probes::taps::{Programs, SCAN_AFTER, Taps, Wanted};
use crate::probes::verify::{self, Load, Subject, load_changed};
use crate::probes::{Probe, monotonic_ns, objects, programs};
use crate::sample::{FlowDirection, FlowKey, FlowRecord, Sample};

mod hooks;
mod splits;
mod table;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/flows.skel.rs"));
}
use skel::types::{flow, flow_direction, flow_key, flow_marks, loss};
use skel::{FlowsSkel, FlowsSkelBuilder, OpenFlowsSkel};
use table::Table;

// SAFETY: integers and arrays of them only, and no padding that isn't a field.
unsafe impl Plain for flow_key {}
// SAFETY: as above.
unsafe impl Plain for flow {}

/// A flow without a packet for so long has ended, unless options say otherwise.
const IDLE_AFTER: Duration = Duration::from_secs(60);

/// Names of the loss causes that this probe has.
pub(crate) const LOSS_NAMES: [(&str, u32); 1] = [("flow_table", loss::LOSS_FLOW_TABLE.0)];

const DIRECTIONS: [flow_direction; 2] = [flow_direction::FLOW_IN, flow_direction::FLOW_OUT];

/// What is recorded.
#[derive(Debug, Default)]
pub struct Options {
    /// The namespace whose interfaces are watched; nettrace's own if none.
    pub netns: Option<Netns>,
    /// Names, with `*` for any part; `any` is all but the loopback. Nothing is attached if there are none.
    pub interfaces: Vec<String>,
    /// Packets that count; all of them if none. It is asked of the outermost packet.
    pub filter: Option<Filter>,
    /// Packets within tunnels are what counts.
    pub inner: bool,
    /// Flows that the kernel's table has room for; `None` takes the default of 65,536.
    pub entries: Option<u32>,
    /// A flow without a packet for so long has ended; `None` takes 60 s.
    pub idle_after: Option<Duration>,
}

/// The probe's arrangement with everything switched on.
pub(super) fn subjects() -> Vec<Subject> {
    let subject = |arrangement| {
        let load: Load = Box::new(|_, change| {
            let filter = verify::filter();
            let options = Options { filter, inner: true, ..Options::default() };
            load_changed(prepare(&options)?, change)
        });
        Subject { object: "flows", name: "packet", number: 0, arrangement, load }
    };
    hooks::arrangements().into_iter().map(subject).collect()
}

/// How the probe stands that couldn't be opened.
pub fn not_had(error: &anyhow::Error) -> Standing {
    Standing::not_had("flows", "packets and bytes of flows", "tcx_ingress", error)
}

/// The loaded and attached probe.
pub struct FlowProbe {
    options: Options,
    /// Inode of the namespace.
    netns: u32,
    has_netns: bool,
    /// How each interface counts: `enum interface_splits`.
    splits: FxHashMap<u32, u32>,
    others: Batches<flow_key, flow>,
    records: Vec<FlowRecord>,
    choice: Choice,
    table: Table,
    // Dropped before the programs that it has attached.
    taps: Taps,
    skel: FlowsSkel<'static>,
}

impl FlowProbe {
    /// Loads the probe, and attaches it to the interfaces that are wanted.
    ///
    /// # Errors
    /// [`crate::kernel::Unsupported`] where the kernel or the privileges don't allow it.
    pub fn open(mut options: Options) -> Result<Self> {
        const WHAT: &str = "load the flow probe";

        let inode = options.netns.as_ref().map_or_else(netns::own, Netns::inode);
        let (netns, names) = (options.netns.take(), std::mem::take(&mut options.interfaces));
        let has_netns = netns.is_some();
        let wanted = Wanted::permitted(WHAT, netns, names)?;
        let here = wanted.here()?;
        let (skel, taps, choice) = climb(
            WHAT,
            |_| hooks::arrangements(),
            |choice| {
                let skel = match prepare(&options).and_then(OpenSkel::load) {
                    Ok(skel) => skel,
                    Err(error) => return Ok(Err(Failure::of_loading(&choice, error))),
                };
                Ok(attach(&skel, &choice, &wanted, &here).map(|taps| (skel, taps, choice)))
            },
        )?;
        let mut probe = FlowProbe {
            options,
            netns: inode,
            has_netns,
            splits: FxHashMap::default(),
            others: Batches::new(),
            records: Vec::new(),
            choice,
            table: Table::open(&skel)?,
            taps,
            skel,
        };
        probe.ask_for_splits()?;
        Ok(probe)
    }

    /// What the last reading found.
    pub fn records(&self) -> &[FlowRecord] {
        &self.records
    }

    /// The program at ingress of Ethernet interfaces, for benchmarks that run it by themselves.
    pub fn ingress_program(&self) -> BorrowedFd<'_> {
        self.skel.progs.nettrace_in.as_fd()
    }

    /// What the interfaces' own counters split may change.
    fn ask_for_splits(&mut self) -> Result<()> {
        for (index, now) in self.taps.ask(splits::splits)? {
            let before = self.splits.insert(index, now).unwrap_or(0);
            if now != before {
                set_splits(&self.skel, index, now)?;
            }
        }
        Ok(())
    }
}

impl Probe for FlowProbe {
    fn backlog_after(&self) -> Option<Duration> {
        Some(SCAN_AFTER)
    }

    fn read_backlog(&mut self) -> Result<()> {
        self.look_around()
    }

    /// Looks for interfaces that came and went.
    fn look_around(&mut self) -> Result<()> {
        if self.taps.scan(|interface| make_others(&self.skel, interface.index))? {
            self.ask_for_splits()?;
        }
        Ok(())
    }

    /// What was idle for long is told once more, and gone.
    fn read(&mut self) -> Result<()> {
        self.records.clear();
        // Doubled as it grows, it would take much more.
        let used = table::used(&self.skel)?;
        self.records.reserve_exact(used as usize);
        let idle_after = self.options.idle_after.unwrap_or(IDLE_AFTER).as_nanos() as u64;
        let now = monotonic_ns();
        let is_idle =
            |flow: &flow| now.saturating_sub(flow.last_ns.max(flow.first_ns)) > idle_after;
        let (records, taps, netns) = (&mut self.records, &self.taps, self.netns);
        self.table.read(&mut self.skel, used, is_idle, |number, flow, ended| {
            let record = record(&flow.key, flow, taps.name(flow.key.ifindex), netns);
            records.push(FlowRecord { number: Some(number), ended, ..record });
        })?;
        self.others.read(self.skel.maps.others.as_fd(), |key, value| {
            if value.packets > 0 {
                records.push(record(key, value, taps.name(key.ifindex), netns));
            }
        })
    }

    fn fill<'a>(&'a self, sample: &mut Sample<'a>) {
        sample.flows = Some(&self.records);
    }

    fn losses(&self) -> Vec<(&'static str, u64)> {
        let counts = self.skel.maps.bss_data.as_ref().map(|bss| &bss.losses[..]);
        losses::by_name(LOSS_NAMES, counts)
    }

    fn run_time_ns(&self) -> Option<u64> {
        programs::run_time_ns(self.skel.object())
    }

    fn standings(&self) -> &[Standing] {
        &self.choice.standings
    }

    /// Interfaces come and go.
    fn capabilities(&self) -> Vec<Capability> {
        let mut needed = vec![Capability::CAP_BPF, Capability::CAP_NET_ADMIN];
        if self.has_netns {
            needed.push(Capability::CAP_SYS_ADMIN);
        }
        needed
    }
}

/// The object with all settings, before the kernel sees it.
fn prepare(options: &Options) -> libbpf_rs::Result<OpenFlowsSkel<'static>> {
    let mut open = objects::open::<FlowsSkelBuilder>()?;
    if let Some(rodata) = open.maps.rodata_data.as_mut() {
        rodata.inner = options.inner;
        if let Some(filter) = &options.filter {
            rodata.filter_on = true;
            rodata.filter_reach = filter.reach();
        }
    }
    if let Some(filter) = &options.filter {
        programs::put_filter(open.open_object_mut(), filter)?;
    }
    table::prepare(&mut open, options.entries)?;
    Ok(open)
}

fn attach(
    skel: &FlowsSkel<'static>,
    choice: &Choice,
    wanted: &Arc<Wanted>,
    here: &[Interface],
) -> Result<Taps, Failure> {
    let programs = Programs::of(
        [&skel.progs.nettrace_in, &skel.progs.nettrace_out],
        [&skel.progs.nettrace_ip_in, &skel.progs.nettrace_ip_out],
    );
    let prepare = |interface: &Interface| make_others(skel, interface.index);
    Taps::attach(wanted, choice, programs, here, prepare)
}

/// Room for what the table has no room for.
fn make_others(skel: &FlowsSkel<'static>, ifindex: u32) -> io::Result<()> {
    for direction in DIRECTIONS {
        let key = flow_key {
            ifindex,
            direction: direction.0 as u8,
            marks: flow_marks::FLOW_OTHER.0 as u8,
            ..flow_key::default()
        };
        let value = flow { first_ns: monotonic_ns(), ..flow::default() };
        let made = skel.maps.others.update(bytes_of(&key), bytes_of(&value), MapFlags::NO_EXIST);
        match made {
            Err(error) if error.kind() != libbpf_rs::ErrorKind::AlreadyExists => {
                return Err(io::Error::other(format!("{error:#}")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn set_splits(skel: &FlowsSkel<'static>, ifindex: u32, splits: u32) -> Result<()> {
    let (key, value) = (ifindex.to_ne_bytes(), splits.to_ne_bytes());
    let set = skel.maps.splits.update(&key, &value, MapFlags::ANY);
    set.map_err(|error| anyhow!("{error:#}")).context("set how an interface counts")
}

fn record(key: &flow_key, value: &flow, interface: Arc<str>, netns: u32) -> FlowRecord {
    let has = |mark: flow_marks| u32::from(key.marks) & mark.0 != 0;
    let flags = value.seen.iter().enumerate();
    FlowRecord {
        key: FlowKey {
            source: key.source,
            destination: key.destination,
            interface: key.ifindex,
            tunnel: key.tunnel,
            source_port: key.source_port,
            destination_port: key.destination_port,
            ethertype: key.ethertype,
            vlan: key.vlan,
            inner_vlan: key.inner_vlan,
            icmp: key.icmp,
            protocol: key.protocol,
            direction: match flow_direction(key.direction.into()) {
                flow_direction::FLOW_OUT => FlowDirection::Out,
                _ => FlowDirection::In,
            },
            is_fragment: has(flow_marks::FLOW_FRAGMENT),
            is_truncated: has(flow_marks::FLOW_TRUNCATED),
            is_other: has(flow_marks::FLOW_OTHER),
        },
        number: None,
        interface,
        netns,
        packets: value.packets,
        bytes: value.bytes,
        first_ns: value.first_ns,
        last_ns: value.last_ns.max(value.first_ns),
        tcp_flags: flags.fold(0, |all, (bit, seen)| all | u8::from(*seen != 0) << bit),
        ended: false,
    }
}

fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: plain data without padding that isn't a field.
    unsafe { plain::as_bytes(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_all_flags_and_marks() {
        let key = flow_key { ifindex: 3, direction: 1, marks: 5, ..flow_key::default() };
        let value = flow { seen: [1, 1, 0, 0, 1, 0, 0, 0], packets: 2, ..flow::default() };
        let record = record(&key, &value, "eth0".into(), 7);
        assert_eq!((&*record.interface, record.tcp_flags, record.packets), ("eth0", 0x13, 2));
        let key = record.key;
        assert_eq!(key.direction, FlowDirection::Out);
        assert!(key.is_fragment && key.is_other && !key.is_truncated);
    }
}
