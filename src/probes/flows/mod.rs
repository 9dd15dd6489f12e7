//! The flow probe: loads `flows.bpf.c`, attaches it to the interfaces that are wanted, those that come
//! later too, and reads what each flow had since the start.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use caps::Capability;
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, OpenObject, ProgramMut};
use plain::Plain;
use rustc_hash::FxHashMap;

use crate::kernel::{Reason, Unsupported};
use crate::names::visible;
use crate::netns::{self, Netns};
use crate::packet::filter::Filter;
use crate::privileges;
use crate::probes::batches::Batches;
use crate::probes::climb::{Failure, climb};
use crate::probes::ladder::{Choice, Rung, Standing};
use crate::probes::losses;
use crate::probes::verify::{self, Load, Subject, load_changed};
use crate::probes::{Probe, monotonic_ns, programs};
use crate::sample::{FlowDirection, FlowKey, FlowRecord, Sample};

mod attach;
mod hooks;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/flows.skel.rs"));
}
use attach::{Attached, Interface};
use skel::types::{flow, flow_direction, flow_key, flow_marks, loss};
use skel::{FlowsSkel, FlowsSkelBuilder, OpenFlowsSkel};

// SAFETY: integers and arrays of them only, and no padding that isn't a field.
unsafe impl Plain for flow_key {}
// SAFETY: as above.
unsafe impl Plain for flow {}

/// How soon a new interface is found, and a change of what its counters split.
const SCAN_AFTER: Duration = Duration::from_secs(2);
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

impl Options {
    fn wants(&self, interface: &Interface) -> bool {
        self.interfaces.iter().any(|wanted| match wanted.as_str() {
            "any" => !interface.is_loopback,
            pattern => matches(pattern, &interface.name),
        })
    }
}

/// Whether a name is as the pattern, in which `*` is anything.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(after, &rest[at..]))
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

/// An interface that the programs are on.
struct Watched {
    attached: Attached,
    splits: u32,
}

/// The loaded and attached probe.
pub struct FlowProbe {
    options: Options,
    /// Inode of the namespace.
    netns: u32,
    watched: FxHashMap<u32, Watched>,
    /// Of interfaces that are gone too, as flows have only the number.
    names: FxHashMap<u32, Arc<str>>,
    scan_at: Instant,
    batches: Batches<flow_key, flow>,
    records: Vec<FlowRecord>,
    choice: Choice,
    rung: Rung,
    skel: FlowsSkel<'static>,
}

impl FlowProbe {
    /// Loads the probe, and attaches it to the interfaces that are wanted.
    ///
    /// # Errors
    /// [`Unsupported`] where the kernel or the privileges don't allow it.
    pub fn open(options: Options) -> Result<Self> {
        const WHAT: &str = "load the flow probe";

        let missing = privileges::missing(&[Capability::CAP_NET_ADMIN]);
        if !missing.is_empty() {
            return Err(Unsupported::new(WHAT, Reason::Capabilities(missing)).into());
        }
        let here = within(options.netns.as_ref(), attach::interfaces)?;
        let wanted: Vec<Interface> = here.into_iter().filter(|it| options.wants(it)).collect();
        let (skel, watched, choice, rung) = climb(
            WHAT,
            |_| hooks::arrangements(),
            |choice| {
                let skel = match prepare(&options).and_then(OpenSkel::load) {
                    Ok(skel) => skel,
                    Err(error) => return Ok(Err(Failure::of_loading(&choice, error))),
                };
                let way = choice.standings.iter().find_map(|standing| standing.way.as_ref());
                let hook = way.and_then(|way| way.hooks.first()).copied();
                let rung = hook.map_or(Rung::Clsact, |hook| hook.rung);
                let attached = attach_all(&skel, rung, &wanted, options.netns.as_ref());
                Ok(match attached {
                    Ok(watched) => Ok((skel, watched, choice, rung)),
                    Err(error) => {
                        let number = error.raw_os_error().unwrap_or(libc::EIO);
                        let error = libbpf_rs::Error::from_raw_os_error(number);
                        Err(Failure { hook, error })
                    }
                })
            },
        )?;
        let netns = options.netns.as_ref().map_or_else(netns::own, Netns::inode);
        let mut probe = FlowProbe {
            options,
            netns,
            watched: FxHashMap::default(),
            names: FxHashMap::default(),
            scan_at: Instant::now() + SCAN_AFTER,
            batches: Batches::new(),
            records: Vec::new(),
            choice,
            rung,
            skel,
        };
        probe.adopt(watched);
        Ok(probe)
    }

    fn adopt(&mut self, attached: Vec<(Interface, Watched)>) {
        for (interface, watched) in attached {
            self.names.insert(interface.index, visible(interface.name.as_bytes()).into());
            self.watched.insert(interface.index, watched);
        }
    }

    /// Takes a flow out of the table, whole where the kernel does that in one go (since Linux 5.14).
    fn take(&self, key: &flow_key) -> Result<Option<flow>> {
        let (map, key) = (&self.skel.maps.flows, bytes_of(key));
        let value = match map.lookup_and_delete(key) {
            Ok(value) => value,
            Err(_) => {
                let value = map.lookup(key, MapFlags::ANY).context("read a flow")?;
                // There is nobody else who could have.
                let _ = map.delete(key);
                value
            }
        };
        let mut copy = flow::default();
        Ok(value.filter(|value| copy.copy_from_bytes(value).is_ok()).map(|_| copy))
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
        if Instant::now() < self.scan_at {
            return Ok(());
        }
        self.scan_at = Instant::now() + SCAN_AFTER;
        let netns = self.options.netns.as_ref();
        let here = within(netns, attach::interfaces)?;
        self.watched.retain(|index, _| here.iter().any(|it| it.index == *index));
        let wanted = here.into_iter().filter(|it| self.options.wants(it));
        let (known, new): (Vec<_>, Vec<_>) =
            wanted.partition(|it| self.watched.contains_key(&it.index));
        let splits = within(netns, || Ok(known.iter().map(attach::splits).collect::<Vec<u32>>()))?;
        for (interface, splits) in known.into_iter().zip(splits) {
            // It may have another name by now.
            self.names.insert(interface.index, visible(interface.name.as_bytes()).into());
            if let Some(watched) = self.watched.get_mut(&interface.index)
                && watched.splits != splits
            {
                watched.splits = splits;
                set_splits(&self.skel, interface.index, splits)?;
            }
        }
        let attached = attach_all(&self.skel, self.rung, &new, netns);
        self.adopt(attached.context("attach to an interface that came")?);
        Ok(())
    }

    /// What was idle for long is told for the last time, and gone.
    fn read(&mut self) -> Result<()> {
        self.records.clear();
        let idle_after = self.options.idle_after.unwrap_or(IDLE_AFTER).as_nanos() as u64;
        let now = monotonic_ns();
        let (records, names, netns) = (&mut self.records, &self.names, self.netns);
        let mut idle = Vec::new();
        self.batches.read(self.skel.maps.flows.as_fd(), |key, value| {
            if now.saturating_sub(value.last_ns.max(value.first_ns)) > idle_after {
                idle.push(*key);
            } else {
                records.push(record(key, value, names, netns));
            }
        })?;
        self.batches.read(self.skel.maps.others.as_fd(), |key, value| {
            if value.packets > 0 {
                records.push(record(key, value, names, netns));
            }
        })?;
        for key in idle {
            if let Some(value) = self.take(&key)? {
                let last = record(&key, &value, &self.names, self.netns);
                self.records.push(FlowRecord { ended: true, ..last });
            }
        }
        Ok(())
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
        if self.options.netns.is_some() {
            needed.push(Capability::CAP_SYS_ADMIN);
        }
        needed
    }
}

impl Drop for FlowProbe {
    /// Links go by themselves, filters don't.
    fn drop(&mut self) {
        let filters: Vec<(u32, [u32; 2], bool)> = self
            .watched
            .drain()
            .filter_map(|(index, watched)| match watched.attached {
                Attached::Clsact { priorities, made } => Some((index, priorities, made)),
                Attached::Tcx { .. } => None,
            })
            .collect();
        if filters.is_empty() {
            return;
        }
        let detached = within(self.options.netns.as_ref(), || {
            for (index, priorities, made) in &filters {
                attach::detach_clsact(*index, priorities, *made);
            }
            Ok(())
        });
        if let Err(error) = detached {
            eprintln!("nettrace: filters stay on the interfaces: {error:#}");
        }
    }
}

fn within<T: Send>(netns: Option<&Netns>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    match netns {
        Some(netns) => netns.run(work),
        None => work(),
    }
}

/// The object with all settings, before the kernel sees it.
fn prepare(options: &Options) -> libbpf_rs::Result<OpenFlowsSkel<'static>> {
    // The storage of one libbpf handle per session, a few words that live as long as the process.
    let storage: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = FlowsSkelBuilder::default().open(storage)?;
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
    if let Some(entries) = options.entries {
        open.maps.flows.set_max_entries(entries)?;
    }
    Ok(open)
}

/// Attaches to all that are wanted; what goes meanwhile is left out.
fn attach_all(
    skel: &FlowsSkel<'static>,
    rung: Rung,
    wanted: &[Interface],
    netns: Option<&Netns>,
) -> io::Result<Vec<(Interface, Watched)>> {
    let fd = |program: &ProgramMut<'_>| program.as_fd().as_raw_fd();
    let programs = &skel.progs;
    let ethernet = [fd(&programs.nettrace_in), fd(&programs.nettrace_out)];
    let ip = [fd(&programs.nettrace_ip_in), fd(&programs.nettrace_ip_out)];
    for interface in wanted {
        make_others(skel, interface.index)?;
    }
    let attach = |interface: &Interface| -> io::Result<Watched> {
        let programs = if interface.has_link_header { ethernet } else { ip };
        // What a nettrace left that was killed would go on to run beside ours.
        if rung == Rung::Tcx && attach::remove_dead(interface.index) {
            attach::detach_clsact(interface.index, &[], true);
        }
        let attached = match rung {
            Rung::Tcx => attach::attach_tcx(programs, interface.index)?,
            _ => attach::attach_clsact(programs, interface.index)?,
        };
        Ok(Watched { attached, splits: attach::splits(interface) })
    };
    let attached = within(netns, || {
        if rung == Rung::Tcx {
            attach::ask_for_tcx()?;
        }
        let mut all = Vec::new();
        for interface in wanted {
            match attach(interface) {
                Ok(watched) => all.push((interface.clone(), watched)),
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => {
                    detach(all);
                    return Err(error.into());
                }
            }
        }
        Ok(all)
    });
    let attached = attached.map_err(|error| {
        error.downcast::<io::Error>().unwrap_or_else(|error| io::Error::other(format!("{error:#}")))
    })?;
    for (interface, watched) in &attached {
        if watched.splits != 0 {
            set_splits(skel, interface.index, watched.splits).map_err(io::Error::other)?;
        }
    }
    Ok(attached)
}

/// Takes back what was attached before something failed.
fn detach(attached: Vec<(Interface, Watched)>) {
    for (interface, watched) in attached {
        if let Attached::Clsact { priorities, made } = watched.attached {
            attach::detach_clsact(interface.index, &priorities, made);
        }
    }
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

fn record(
    key: &flow_key,
    value: &flow,
    names: &FxHashMap<u32, Arc<str>>,
    netns: u32,
) -> FlowRecord {
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
        interface: names
            .get(&key.ifindex)
            .map_or_else(|| format!("#{}", key.ifindex).into(), Arc::clone),
        netns,
        packets: value.packets,
        bytes: value.bytes,
        first_ns: value.first_ns,
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
    fn stars_are_anything() {
        for (pattern, name, is_it) in [
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("eth*", "eth", true),
            ("*", "x", true),
            ("v*th*1", "veth-a1", true),
            ("v*th*1", "veth-a12", false),
            ("*0", "eth0", true),
            ("é*", "é0", true),
        ] {
            assert_eq!(matches(pattern, name), is_it, "{pattern} {name}");
        }
    }

    #[test]
    fn any_is_all_but_the_loopback() {
        let interface = |name: &str, is_loopback| Interface {
            index: 1,
            name: name.to_owned(),
            has_link_header: true,
            is_loopback,
            is_veth: false,
        };
        let wants = |wanted: &[&str], interface: Interface| {
            let interfaces = wanted.iter().map(|name| (*name).to_owned()).collect();
            Options { interfaces, ..Options::default() }.wants(&interface)
        };
        assert!(wants(&["any"], interface("eth0", false)));
        assert!(!wants(&["any"], interface("lo", true)));
        assert!(wants(&["any", "lo"], interface("lo", true)));
        assert!(!wants(&[], interface("eth0", false)));
    }

    #[test]
    fn a_record_has_all_flags_and_marks() {
        let key = flow_key { ifindex: 3, direction: 1, marks: 5, ..flow_key::default() };
        let value = flow { seen: [1, 1, 0, 0, 1, 0, 0, 0], packets: 2, ..flow::default() };
        let names = FxHashMap::from_iter([(3, Arc::from("eth0"))]);
        let record = record(&key, &value, &names, 7);
        assert_eq!((&*record.interface, record.tcp_flags, record.packets), ("eth0", 0x13, 2));
        let key = record.key;
        assert_eq!(key.direction, FlowDirection::Out);
        assert!(key.is_fragment && key.is_other && !key.is_truncated);
    }
}
