//! A kprobe and the kretprobe of the same functions become one program, which the kernel runs at both (Linux 6.10): one link,
//! and one place of the kernel's for each call instead of two.

use std::collections::HashMap;
use std::os::fd::RawFd;

use super::link::{Linked, link_session};
use crate::lang::ast::AttachPoint;
use crate::lang::ktypes::KernelTypes;
use crate::lang::probe::{Address, Probe as Place};
use crate::lang::program::{Probe, Program};
use crate::lang::types::Name;

/// Probes that a kernel which can do so runs as one program: the kprobe first, the kretprobe of the same functions second.
pub(super) fn sessions(
    program: &Program,
    kernel: &KernelTypes,
    maps: &[RawFd],
) -> Vec<((usize, usize), Linked)> {
    let pairs = pairs(&program.probes);
    if pairs.is_empty() {
        return Vec::new();
    }
    let find = |name| kernel.btf().and_then(|btf| btf.find_function(name));
    let Some(is_return) = find("bpf_session_is_return") else { return Vec::new() };
    let linked = |(entry, exit): (usize, usize)| {
        let (first, second) = (&program.probes[entry], &program.probes[exit]);
        Some(((entry, exit), link_session(program, first, second, is_return, maps)?))
    };
    pairs.into_iter().filter_map(linked).collect()
}

/// Each kprobe with the only kretprobe of the same functions.
fn pairs(probes: &[Probe]) -> Vec<(usize, usize)> {
    let functions = |probe: &'_ Probe, wanted: bool| {
        let function = |point: &AttachPoint| match &point.probe {
            Some(Place::Kprobe {
                at_return,
                module: None,
                at: Address::Function { name, offset: 0 },
            }) if *at_return == wanted => Some(name.clone()),
            _ => None,
        };
        probe.attach.iter().map(function).collect::<Option<Vec<Name>>>()
    };
    let mut exits: HashMap<Vec<Name>, Vec<usize>> = HashMap::new();
    for (number, probe) in probes.iter().enumerate() {
        if let Some(functions) = functions(probe, true) {
            exits.entry(functions).or_default().push(number);
        }
    }
    let pair = |(number, probe)| {
        let exits = exits.get_mut(&functions(probe, false)?)?;
        if exits.len() == 1 { Some((number, exits.pop()?)) } else { None }
    };
    probes.iter().enumerate().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::program::Code;
    use crate::lang::source::Span;

    fn probe(at_return: bool, names: &[&str], offset: u64) -> Probe {
        let place = |name: &&str| Place::Kprobe {
            at_return,
            module: None,
            at: Address::Function { name: (*name).into(), offset },
        };
        let point =
            |name| AttachPoint { name: "".into(), probe: Some(place(name)), span: Span::default() };
        Probe {
            name: String::new(),
            attach: names.iter().map(point).collect(),
            span: Span::default(),
            code: Code::default(),
            sleepable: false,
        }
    }

    #[test]
    fn of_the_same_functions() {
        let of = |probes: &[(bool, &[&str])]| {
            let probes: Vec<Probe> =
                probes.iter().map(|(at_return, names)| probe(*at_return, names, 0)).collect();
            pairs(&probes)
        };
        assert_eq!(of(&[(false, &["a"]), (true, &["a"])]), [(0, 1)]);
        assert_eq!(of(&[(true, &["a", "b"]), (false, &["a"]), (false, &["a", "b"])]), [(2, 0)]);
        // The second kprobe has nothing left to be with.
        assert_eq!(of(&[(false, &["a"]), (false, &["a"]), (true, &["a"])]), [(0, 2)]);
        assert_eq!(of(&[(false, &["a"]), (true, &["a"]), (true, &["a"])]), []);
        assert_eq!(of(&[(true, &["a"]), (true, &["a"])]), []);
        let amid = [probe(false, &["a"], 4), probe(true, &["a"], 0)];
        assert_eq!(pairs(&amid), []);
    }
}
