//! Programs on all interfaces of a namespace that are wanted, those that come later too.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use caps::Capability;
use libbpf_rs::ProgramMut;
use rustc_hash::FxHashMap;

use super::climb::Failure;
use super::interfaces::{self, Attached, Interface};
use super::ladder::{Choice, Hook, Rung};
use crate::kernel::{Reason, Unsupported};
use crate::names::visible;
use crate::netns::Netns;
use crate::privileges;

/// How soon a new interface is found.
pub(super) const SCAN_AFTER: Duration = Duration::from_secs(2);

/// For ingress and egress, as the kernel knows them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Programs {
    /// Where packets begin with a link layer's header.
    ethernet: [Option<i32>; 2],
    /// Where they begin with IP.
    ip: [Option<i32>; 2],
}

impl Programs {
    /// These of a loaded object, each for ingress and egress.
    pub(super) fn of(ethernet: [&ProgramMut<'_>; 2], ip: [&ProgramMut<'_>; 2]) -> Self {
        let fds = |programs: [&ProgramMut<'_>; 2]| programs.map(|it| Some(it.as_fd().as_raw_fd()));
        Programs { ethernet: fds(ethernet), ip: fds(ip) }
    }

    /// This one for ingress, wherever packets begin, and none for egress.
    pub(super) fn of_ingress(program: &ProgramMut<'_>) -> Self {
        let fds = [Some(program.as_fd().as_raw_fd()), None];
        Programs { ethernet: fds, ip: fds }
    }
}

/// Which interfaces.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// The namespace whose they are; nettrace's own if none.
    pub(super) netns: Option<Netns>,
    /// Names, with `*` for any part; `any` is all but the loopback.
    pub(super) names: Vec<String>,
}

impl Wanted {
    /// These, which programs may be attached to.
    ///
    /// # Errors
    /// [`Unsupported`]: `what` isn't possible without CAP_NET_ADMIN.
    pub(super) fn permitted(
        what: &str,
        netns: Option<Netns>,
        names: Vec<String>,
    ) -> Result<Arc<Self>> {
        let missing = privileges::missing(&[Capability::CAP_NET_ADMIN]);
        if !missing.is_empty() {
            return Err(Unsupported::new(what, Reason::Capabilities(missing)).into());
        }
        Ok(Arc::new(Wanted { netns, names }))
    }

    fn has(&self, interface: &Interface) -> bool {
        self.names.iter().any(|wanted| match wanted.as_str() {
            "any" => !interface.is_loopback,
            pattern => matches(pattern, &interface.name),
        })
    }

    /// Does something in their namespace.
    ///
    /// # Errors
    /// Where entering it isn't permitted.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.netns {
            Some(netns) => netns.run(work),
            None => work(),
        }
    }

    /// Those that there are now.
    pub(super) fn here(&self) -> Result<Vec<Interface>> {
        let here = self.within(interfaces::interfaces)?;
        Ok(here.into_iter().filter(|interface| self.has(interface)).collect())
    }
}

/// Whether a name is as the pattern, in which `*` is anything.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(after, &rest[at..]))
}

/// Attached programs. Links go by themselves; filters when this is dropped.
#[derive(Debug)]
pub(super) struct Taps {
    wanted: Arc<Wanted>,
    rung: Rung,
    programs: Programs,
    attached: FxHashMap<u32, Attached>,
    /// Of interfaces that are gone too, since records have only the number; with names that are safe to show.
    known: FxHashMap<u32, (Interface, Arc<str>)>,
    scan_at: Instant,
}

impl Taps {
    /// Attaches by the chosen hooks to these interfaces; what goes meanwhile is left out. `prepare` is told of
    /// each one before its first packet.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn attach(
        wanted: &Arc<Wanted>,
        choice: &Choice,
        programs: Programs,
        here: &[Interface],
        prepare: impl FnMut(&Interface) -> io::Result<()>,
    ) -> Result<Self, Failure> {
        let is_of_taps = |hook: &&Hook| matches!(hook.rung, Rung::Tcx | Rung::Clsact);
        let hook = choice.hooks().find(is_of_taps).copied();
        let mut taps = Taps {
            wanted: Arc::clone(wanted),
            rung: hook.map_or(Rung::Clsact, |hook| hook.rung),
            programs,
            attached: FxHashMap::default(),
            known: FxHashMap::default(),
            scan_at: Instant::now() + SCAN_AFTER,
        };
        // That nobody can be asked what is there keeps nobody from attaching.
        let _ = wanted.within(|| interfaces::remove_dead_elsewhere(here));
        match taps.attach_to(here, prepare) {
            Ok(()) => Ok(taps),
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(libc::EIO);
                Err(Failure { hook, error: libbpf_rs::Error::from_raw_os_error(number) })
            }
        }
    }

    /// Looks for interfaces that came and went, if it is time to; true if it was.
    ///
    /// # Errors
    /// Where netlink doesn't answer, or the kernel refuses to attach.
    pub(super) fn scan(
        &mut self,
        prepare: impl FnMut(&Interface) -> io::Result<()>,
    ) -> Result<bool> {
        if Instant::now() < self.scan_at {
            return Ok(false);
        }
        self.scan_at = Instant::now() + SCAN_AFTER;
        let here = self.wanted.here()?;
        self.attached.retain(|index, _| here.iter().any(|it| it.index == *index));
        let (old, new): (Vec<_>, Vec<_>) =
            here.into_iter().partition(|it| self.attached.contains_key(&it.index));
        // They may have other names by now.
        old.iter().for_each(|interface| self.know(interface));
        self.attach_to(&new, prepare).context("attach to an interface that came")?;
        Ok(true)
    }

    /// Asks something of all interfaces that are watched, in their namespace.
    ///
    /// # Errors
    /// Where entering it isn't permitted.
    pub(super) fn ask<T: Send>(
        &self,
        question: impl Fn(&Interface) -> T + Sync,
    ) -> Result<Vec<(u32, T)>> {
        let watched = self.known.values().filter(|(it, _)| self.attached.contains_key(&it.index));
        let watched: Vec<&Interface> = watched.map(|(interface, _)| interface).collect();
        self.wanted.within(|| Ok(watched.iter().map(|it| (it.index, question(it))).collect()))
    }

    /// What is known of an interface that was ever watched.
    pub(super) fn interface(&self, index: u32) -> Option<&Interface> {
        self.known.get(&index).map(|(interface, _)| interface)
    }

    /// Its name, safe to show; a number if it has none.
    pub(super) fn name(&self, index: u32) -> Arc<str> {
        let known = self.known.get(&index).map(|(_, name)| Arc::clone(name));
        known.unwrap_or_else(|| format!("#{index}").into())
    }

    fn know(&mut self, interface: &Interface) {
        let name = visible(interface.name.as_bytes()).into();
        self.known.insert(interface.index, (interface.clone(), name));
    }

    fn attach_to(
        &mut self,
        new: &[Interface],
        mut prepare: impl FnMut(&Interface) -> io::Result<()>,
    ) -> io::Result<()> {
        for interface in new {
            prepare(interface)?;
        }
        let (wanted, rung, programs) = (Arc::clone(&self.wanted), self.rung, self.programs);
        let mut all = Vec::new();
        let outcome = wanted.within(|| {
            if rung == Rung::Tcx {
                interfaces::ask_for_tcx()?;
            }
            for interface in new {
                match attach_one(interface, rung, programs) {
                    Ok(attached) => all.push((interface, attached)),
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        });
        // What was attached before something failed is taken back with the others.
        for (interface, attached) in all {
            self.know(interface);
            self.attached.insert(interface.index, attached);
        }
        outcome.map_err(|error| {
            let other = |error: anyhow::Error| io::Error::other(format!("{error:#}"));
            error.downcast::<io::Error>().unwrap_or_else(other)
        })
    }
}

fn attach_one(interface: &Interface, rung: Rung, programs: Programs) -> io::Result<Attached> {
    let programs = if interface.has_link_header { programs.ethernet } else { programs.ip };
    // What a nettrace left that was killed would go on to run beside ours.
    if rung == Rung::Tcx && interfaces::remove_dead(interface.index) {
        interfaces::detach_clsact(interface.index, &[], true);
    }
    match rung {
        Rung::Tcx => interfaces::attach_tcx(programs, interface.index),
        _ => interfaces::attach_clsact(programs, interface.index),
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        let filters: Vec<(u32, [u32; 2], bool)> = self
            .attached
            .drain()
            .filter_map(|(index, attached)| match attached {
                Attached::Clsact { priorities, made } => Some((index, priorities, made)),
                Attached::Tcx { .. } => None,
            })
            .collect();
        if filters.is_empty() {
            return;
        }
        let detached = self.wanted.within(|| {
            for (index, priorities, made) in &filters {
                interfaces::detach_clsact(*index, priorities, *made);
            }
            Ok(())
        });
        if let Err(error) = detached {
            eprintln!("nettrace: filters stay on the interfaces: {error:#}");
        }
    }
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
            xdp: Vec::new(),
        };
        let wants = |names: &[&str], interface: Interface| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Wanted { names, netns: None }.has(&interface)
        };
        assert!(wants(&["any"], interface("eth0", false)));
        assert!(!wants(&["any"], interface("lo", true)));
        assert!(wants(&["any", "lo"], interface("lo", true)));
        assert!(!wants(&[], interface("eth0", false)));
    }
}
