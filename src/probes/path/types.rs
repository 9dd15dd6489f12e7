//! Which functions and tracepoints of the kernel take an `sk_buff`, and where: by the kernel's types and
//! those of its modules.

use std::rc::Rc;

use crate::btf::{self, Btf, Id, Kind};

const PACKET: &str = "sk_buff";
/// So begin the types of tracepoints' functions; their first argument is the tracepoint's own.
const TRACEPOINT: &str = "btf_trace_";
/// Arguments that every architecture has in registers, and programs on it can read.
const ARGUMENTS: usize = 5;

/// What takes a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Taker {
    pub(super) name: String,
    /// Which argument, from 1 on.
    pub(super) argument: u8,
    /// The number of its type; none of a module's function.
    pub(super) id: Option<Id>,
}

/// All of the kernel's functions and of its modules', by name and each once.
pub(super) fn functions(kernel: &Rc<Btf>) -> Vec<Taker> {
    let mut all = functions_of(kernel);
    for name in btf::modules() {
        if let Ok(module) = Btf::module(&name, Rc::clone(kernel)) {
            all.extend(functions_of(&module).into_iter().map(|f| Taker { id: None, ..f }));
        }
    }
    // The kernel's own come first.
    all.sort_by(|a, b| a.name.cmp(&b.name).then(b.id.cmp(&a.id)));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

/// All tracepoints of the kernel.
pub(super) fn tracepoints(kernel: &Btf) -> Vec<Taker> {
    let taker = |id| {
        let Kind::Typedef(to) = kernel.kind(id) else { return None };
        let name = kernel.name(id).strip_prefix(TRACEPOINT)?;
        let argument = packet_among(kernel, pointee(kernel, to)?, 1)?;
        Some(Taker { name: name.to_owned(), argument, id: None })
    };
    let mut all: Vec<Taker> = kernel.ids().filter_map(taker).collect();
    all.sort();
    all.dedup_by(|a, b| a.name == b.name);
    all
}

fn functions_of(btf: &Btf) -> Vec<Taker> {
    let taker = |id| {
        let Kind::Function(prototype) = btf.kind(id) else { return None };
        let argument = packet_among(btf, prototype, 0)?;
        Some(Taker { name: btf.name(id).to_owned(), argument, id: Some(id) })
    };
    btf.ids().filter_map(taker).collect()
}

/// Which of a prototype's parameters is a packet, the first `skipped` left out.
fn packet_among(btf: &Btf, prototype: Id, skipped: usize) -> Option<u8> {
    for (at, parameter) in btf.parameters(prototype).skip(skipped).take(ARGUMENTS).enumerate() {
        if is_packet(btf, parameter.ty) {
            return u8::try_from(at + 1).ok();
        }
        // It may take two registers, or none.
        let kind = btf.kind(btf.resolve(parameter.ty));
        if matches!(kind, Kind::Void | Kind::Struct(_) | Kind::Union(_)) {
            return None;
        }
    }
    None
}

fn is_packet(btf: &Btf, id: Id) -> bool {
    let Some(target) = pointee(btf, id).map(|id| btf.resolve(id)) else { return false };
    matches!(btf.kind(target), Kind::Struct(_)) && btf.name(target) == PACKET
}

fn pointee(btf: &Btf, id: Id) -> Option<Id> {
    let Kind::Pointer(to) = btf.kind(btf.resolve(id)) else { return None };
    Some(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(all: &[Taker], name: &str) -> Option<u8> {
        all.iter().find(|taker| taker.name == name).map(|taker| taker.argument)
    }

    #[test]
    fn this_kernel_s_functions_take_packets_where_they_are_known_to() {
        let all = functions(&crate::kernel::btf().unwrap());
        assert!(all.len() > 500, "{}", all.len());
        for (name, expected) in
            [("ip_rcv", 1), ("tcp_v4_do_rcv", 2), ("ip_local_out", 3), ("skb_clone", 1)]
        {
            assert_eq!(argument(&all, name), Some(expected), "{name}");
        }
        assert_eq!(argument(&all, "ip_list_rcv"), None);
    }

    #[test]
    fn this_kernel_s_tracepoints_do_too() {
        let all = tracepoints(&crate::kernel::btf().unwrap());
        for (name, expected) in
            [("netif_receive_skb", 1), ("tcp_retransmit_skb", 2), ("kfree_skb", 1)]
        {
            assert_eq!(argument(&all, name), Some(expected), "{name}");
        }
        assert_eq!(argument(&all, "sched_switch"), None);
    }
}
