//! Interfaces, and programs on them: each function is for the network namespace that its thread is in.

use std::io;
use std::mem::size_of;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
};
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};

use super::netlink::dump;
use crate::sample::XdpMode;

/// How our programs' names begin, and so those of our filters.
const OURS: &str = "nettrace_";
/// Where filters of a clsact hang, by direction: the kernel's `TC_H_MIN_INGRESS` and `TC_H_MIN_EGRESS`.
const PARENTS: [u32; 2] = [0xffff_fff2, 0xffff_fff3];
const POINTS: [libbpf_sys::bpf_tc_attach_point; 2] =
    [libbpf_sys::BPF_TC_INGRESS, libbpf_sys::BPF_TC_EGRESS];
const TCX: [libbpf_sys::bpf_attach_type; 2] =
    [libbpf_sys::BPF_TCX_INGRESS, libbpf_sys::BPF_TCX_EGRESS];
/// Before all others, since what one of them lets pass the next ones don't see. 0 is the kernel's
/// choice, where another kind of filter has the first place.
const PRIORITIES: [u32; 2] = [1, 0];

/// An interface that could be watched.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    /// Packets begin with a link layer's header that the programs know.
    pub(super) has_link_header: bool,
    pub(super) is_loopback: bool,
    pub(super) is_veth: bool,
    /// XDP programs on it, by their ids.
    pub(super) xdp: Vec<(XdpMode, u32)>,
}

/// Programs on one interface.
#[derive(Debug)]
pub(super) enum Attached {
    /// As long as these are open.
    Tcx { _links: Vec<OwnedFd> },
    /// Until they are taken away: filters of these priorities, 0 where there is none; whether the qdisc is
    /// ours too.
    Clsact { priorities: [u32; 2], made: bool },
}

/// All interfaces.
///
/// # Errors
/// Where netlink doesn't answer.
pub(super) fn interfaces() -> Result<Vec<Interface>> {
    let links = dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))
        .context("list the interfaces")?;
    let interface = |message| match message {
        RouteNetlinkMessage::NewLink(link) => Some(interface(&link)),
        _ => None,
    };
    Ok(links.into_iter().filter_map(interface).collect())
}

fn interface(link: &LinkMessage) -> Interface {
    let layer = link.header.link_layer_type;
    let is_veth = |info: &LinkInfo| matches!(info, LinkInfo::Kind(InfoKind::Veth));
    let name = |attribute: &LinkAttribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    };
    Interface {
        index: link.header.index,
        name: link.attributes.iter().find_map(name).unwrap_or_default(),
        has_link_header: matches!(layer, LinkLayerType::Ether | LinkLayerType::Loopback),
        is_loopback: layer == LinkLayerType::Loopback,
        is_veth: link.attributes.iter().any(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => infos.iter().any(is_veth),
            _ => false,
        }),
        xdp: xdp_programs(&link.attributes),
    }
}

/// XDP programs on an interface, with their ids.
pub(super) fn xdp_programs(attributes: &[LinkAttribute]) -> Vec<(XdpMode, u32)> {
    let xdp = attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    });
    let program = |attribute: &LinkXdp| match attribute {
        LinkXdp::DrvProgId(id) => Some((XdpMode::Native, *id)),
        LinkXdp::SkbProgId(id) => Some((XdpMode::Skb, *id)),
        LinkXdp::HwProgId(id) => Some((XdpMode::Hw, *id)),
        _ => None,
    };
    xdp.flatten().filter_map(program).collect()
}

/// Whether the kernel has tcx at all: asked of the loopback, and nothing is attached.
///
/// # Errors
/// Of the system call, if it hasn't.
pub(super) fn ask_for_tcx() -> io::Result<()> {
    const LOOPBACK: i32 = 1;

    let mut opts = libbpf_sys::bpf_prog_query_opts {
        sz: size_of::<libbpf_sys::bpf_prog_query_opts>() as _,
        ..Default::default()
    };
    // SAFETY: opts says its own size and asks for no arrays.
    check(unsafe { libbpf_sys::bpf_prog_query_opts(LOOPBACK, TCX[0], &raw mut opts) }).map(drop)
}

/// Links for the directions that have a program, before all others.
///
/// # Errors
/// Of the system call.
pub(super) fn attach_tcx(programs: [Option<i32>; 2], index: u32) -> io::Result<Attached> {
    let link = |(program, place): (i32, libbpf_sys::bpf_attach_type)| -> io::Result<OwnedFd> {
        let opts = libbpf_sys::bpf_link_create_opts {
            sz: size_of::<libbpf_sys::bpf_link_create_opts>() as _,
            flags: libbpf_sys::BPF_F_BEFORE,
            ..Default::default()
        };
        // SAFETY: opts says its own size; zeroed, it is about no other program.
        let fd = check(unsafe {
            libbpf_sys::bpf_link_create(program, index.cast_signed(), place, &raw const opts)
        })?;
        // SAFETY: a descriptor that was just made.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    let programs = programs.into_iter().zip(TCX).filter_map(|(it, place)| Some((it?, place)));
    Ok(Attached::Tcx { _links: programs.map(link).collect::<io::Result<_>>()? })
}

/// Filters for the directions that have a program, before all others.
///
/// # Errors
/// Of netlink.
pub(super) fn attach_clsact(programs: [Option<i32>; 2], index: u32) -> io::Result<Attached> {
    let is_inherited = remove_dead(index);
    let mut both = hook(index, POINTS[0] | POINTS[1]);
    // SAFETY: a hook that says its own size.
    let made = match check(unsafe { libbpf_sys::bpf_tc_hook_create(&raw mut both) }) {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => is_inherited,
        Err(error) => return Err(error),
    };
    let mut priorities = [0; 2];
    for (direction, program) in programs.into_iter().enumerate() {
        let Some(program) = program else { continue };
        match filter(index, direction, program) {
            Ok(priority) => priorities[direction] = priority,
            Err(error) => {
                detach_clsact(index, &priorities[..direction], made);
                return Err(error);
            }
        }
    }
    Ok(Attached::Clsact { priorities, made })
}

/// Returns the priority.
fn filter(index: u32, direction: usize, program: i32) -> io::Result<u32> {
    let hook = hook(index, POINTS[direction]);
    let mut outcome = Err(io::Error::from_raw_os_error(libc::EINVAL));
    for priority in PRIORITIES {
        let mut opts = filter_opts(std::process::id(), priority);
        opts.prog_fd = program;
        // SAFETY: both say their own sizes; the program is open.
        outcome = check(unsafe { libbpf_sys::bpf_tc_attach(&raw const hook, &raw mut opts) })
            .map(|_| opts.priority);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Takes our filters away again, and the qdisc if it is ours and nobody uses it. What is gone already
/// went with its interface.
pub(super) fn detach_clsact(index: u32, priorities: &[u32], made: bool) {
    let there = priorities.iter().enumerate().filter(|(_, priority)| **priority > 0);
    for (direction, priority) in there {
        remove(index, direction, std::process::id(), *priority);
    }
    let is_empty = || (0..2).all(|direction| filters(index, direction).is_ok_and(|f| f.is_empty()));
    if made && is_empty() {
        let mut both = hook(index, POINTS[0] | POINTS[1]);
        // SAFETY: a hook that says its own size.
        unsafe { libbpf_sys::bpf_tc_hook_destroy(&raw mut both) };
    }
}

fn remove(index: u32, direction: usize, handle: u32, priority: u32) {
    let (hook, opts) = (hook(index, POINTS[direction]), filter_opts(handle, priority));
    // SAFETY: both say their own sizes.
    unsafe { libbpf_sys::bpf_tc_detach(&raw const hook, &raw const opts) };
}

/// A filter that hangs on an interface.
struct Filter {
    name: String,
    handle: u32,
    priority: u32,
}

/// Takes away what a nettrace left that was killed, on all interfaces but these.
///
/// # Errors
/// Where netlink doesn't answer.
pub(super) fn remove_dead_elsewhere(than: &[Interface]) -> Result<()> {
    let is_clsact = |it: &TcAttribute| matches!(it, TcAttribute::Kind(kind) if kind == "clsact");
    let all = dump(RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default()))?;
    for message in all {
        let RouteNetlinkMessage::NewQueueDiscipline(qdisc) = message else { continue };
        let index = qdisc.header.index.cast_unsigned();
        let is_elsewhere = !than.iter().any(|interface| interface.index == index);
        if is_elsewhere && qdisc.attributes.iter().any(is_clsact) && remove_dead(index) {
            detach_clsact(index, &[], true);
        }
    }
    Ok(())
}

/// Takes away filters of a nettrace that was killed; true if there were any. A filter's handle is the
/// process's id.
pub(super) fn remove_dead(index: u32) -> bool {
    let mut found = false;
    for direction in 0..2 {
        for filter in filters(index, direction).unwrap_or_default() {
            let is_alive = || Path::new("/proc").join(filter.handle.to_string()).exists();
            if filter.name.starts_with(OURS) && !is_alive() {
                remove(index, direction, filter.handle, filter.priority);
                found = true;
            }
        }
    }
    found
}

/// Those on an interface that are BPF programs have names.
fn filters(index: u32, direction: usize) -> Result<Vec<Filter>> {
    let mut request = TcMessage::default();
    request.header.index = index.cast_signed();
    request.header.parent = TcHandle::from(PARENTS[direction]);
    let answers = dump(RouteNetlinkMessage::GetTrafficFilter(request))?;
    let filter = |message| match message {
        RouteNetlinkMessage::NewTrafficFilter(filter) => Some(Filter {
            name: program_name(&filter.attributes).unwrap_or_default(),
            handle: filter.header.handle.into(),
            priority: filter.header.info >> 16,
        }),
        _ => None,
    };
    // The head of a list of filters comes as one of no handle.
    Ok(answers.into_iter().filter_map(filter).filter(|filter| filter.handle != 0).collect())
}

fn program_name(attributes: &[TcAttribute]) -> Option<String> {
    let options = attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    options.flatten().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name.clone()),
        _ => None,
    })
}

fn hook(index: u32, point: libbpf_sys::bpf_tc_attach_point) -> libbpf_sys::bpf_tc_hook {
    libbpf_sys::bpf_tc_hook {
        sz: size_of::<libbpf_sys::bpf_tc_hook>() as _,
        ifindex: index.cast_signed(),
        attach_point: point,
        ..Default::default()
    }
}

fn filter_opts(handle: u32, priority: u32) -> libbpf_sys::bpf_tc_opts {
    libbpf_sys::bpf_tc_opts {
        sz: size_of::<libbpf_sys::bpf_tc_opts>() as _,
        handle,
        priority,
        ..Default::default()
    }
}

/// What libbpf returned: below 0 it is an errno.
fn check(status: i32) -> io::Result<i32> {
    if status < 0 { Err(io::Error::from_raw_os_error(-status)) } else { Ok(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xdp_programs_have_their_modes() {
        let xdp = [LinkXdp::DrvProgId(12), LinkXdp::SkbProgId(13), LinkXdp::ProgId(12)];
        let attributes = [LinkAttribute::Mtu(1500), LinkAttribute::Xdp(xdp.to_vec())];
        assert_eq!(xdp_programs(&attributes), [(XdpMode::Native, 12), (XdpMode::Skb, 13)]);
        assert_eq!(xdp_programs(&attributes[..1]), []);
    }

    #[test]
    fn loopback_is_one_with_a_header() {
        let all = interfaces().unwrap();
        let lo = all.iter().find(|interface| interface.name == "lo").unwrap();
        assert!(lo.has_link_header && lo.is_loopback && !lo.is_veth);
        assert_eq!(lo.index, 1);
    }
}
