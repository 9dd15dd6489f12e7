//! Which functions and tracepoints of the kernel take an `sk_buff`, and where: by the kernel's types and
//! those of its modules.

use std::ffi::{CStr, CString};
use std::fs;
use std::marker::PhantomData;
use std::mem::size_of;
use std::ptr::NonNull;

use libbpf_rs::AsRawLibbpf;
use libbpf_rs::btf::Btf;

/// Where modules' types are, beside the kernel's own.
const TYPES: &str = "/sys/kernel/btf";
const OF_KERNEL: &str = "vmlinux";
const PACKET: &str = "sk_buff";
/// So begin the types of tracepoints' functions; their first argument is the tracepoint's own.
const TRACEPOINT: &str = "btf_trace_";
/// Arguments that every architecture has in registers, and programs on it can read.
const ARGUMENTS: usize = 5;

/// Kinds of types, as BTF numbers them.
const POINTER: u32 = 2;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;
const MODIFIERS: [u32; 5] = [TYPEDEF, 9, 10, 11, 18];
const FUNCTION: u32 = 12;
const PROTOTYPE: u32 = 13;

/// What takes a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Taker {
    pub(super) name: String,
    /// Which argument, from 1 on.
    pub(super) argument: u8,
    /// The number of its type; none of a module's function.
    pub(super) id: Option<u32>,
}

/// All of the kernel's functions and of its modules', by name and each once.
pub(super) fn functions(kernel: &Btf<'_>) -> Vec<Taker> {
    let own = Types::of_kernel(kernel);
    let mut all = own.functions();
    for module in modules() {
        if let Some(module) = Types::of_module(&own, &module) {
            all.extend(module.functions().into_iter().map(|f| Taker { id: None, ..f }));
        }
    }
    // The kernel's own come first.
    all.sort_by(|a, b| a.name.cmp(&b.name).then(b.id.cmp(&a.id)));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

/// All tracepoints of the kernel.
pub(super) fn tracepoints(kernel: &Btf<'_>) -> Vec<Taker> {
    let types = Types::of_kernel(kernel);
    let taker = |id| {
        let name = types.name(id)?.strip_prefix(TRACEPOINT)?;
        let prototype = types.pointee(types.at(id)?.reference)?;
        let argument = types.packet_among(prototype, 1)?;
        Some(Taker { name: name.to_owned(), argument, id: None })
    };
    let mut all: Vec<Taker> = types.of_kind(TYPEDEF).filter_map(taker).collect();
    all.sort();
    all.dedup_by(|a, b| a.name == b.name);
    all
}

fn modules() -> Vec<String> {
    let names = fs::read_dir(TYPES).into_iter().flatten().filter_map(Result::ok);
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name != OF_KERNEL).collect()
}

/// The types of the kernel or a module, which libbpf-rs can't read of a module.
struct Types<'a> {
    btf: NonNull<libbpf_sys::btf>,
    /// The numbers that are its own.
    first: u32,
    is_ours: bool,
    _kernel: PhantomData<&'a ()>,
}

/// A type, as far as it matters here.
struct Type {
    kind: u32,
    /// Of pointers, functions and the like: the type they are about.
    reference: u32,
    /// Behind the fixed part: the parameters of a prototype, so many.
    behind: *const libbpf_sys::btf_param,
    count: usize,
}

impl<'a> Types<'a> {
    fn of_kernel(btf: &'a Btf<'_>) -> Self {
        let btf = btf.as_libbpf_object();
        Types { btf, first: 1, is_ours: false, _kernel: PhantomData }
    }

    fn of_module(kernel: &Types<'a>, name: &str) -> Option<Self> {
        let path = CString::new(format!("{TYPES}/{name}")).ok()?;
        // SAFETY: a string with its end, and types that live as long as what is made of them.
        let btf = unsafe { libbpf_sys::btf__parse_split(path.as_ptr(), kernel.btf.as_ptr()) };
        let btf = NonNull::new(btf)?;
        // SAFETY: valid.
        let first = unsafe { libbpf_sys::btf__type_cnt(kernel.btf.as_ptr()) };
        Some(Types { btf, first, is_ours: true, _kernel: PhantomData })
    }

    fn at(&self, id: u32) -> Option<Type> {
        // SAFETY: valid; libbpf returns null for a number that isn't there.
        let one = unsafe { libbpf_sys::btf__type_by_id(self.btf.as_ptr(), id).as_ref() }?;
        let behind = std::ptr::from_ref(one).wrapping_byte_add(size_of::<libbpf_sys::btf_type>());
        Some(Type {
            kind: one.info >> 24 & 0x1f,
            // SAFETY: size and type are both numbers.
            reference: unsafe { one.__bindgen_anon_1.type_ },
            behind: behind.cast(),
            count: one.info as usize & 0xffff,
        })
    }

    fn name(&self, id: u32) -> Option<&str> {
        // SAFETY: as in `at()`; the offset is the type's own, and the string lives as long as the types.
        let name = unsafe {
            let one = libbpf_sys::btf__type_by_id(self.btf.as_ptr(), id).as_ref()?;
            let name = libbpf_sys::btf__name_by_offset(self.btf.as_ptr(), one.name_off);
            (!name.is_null()).then(|| CStr::from_ptr(name))
        };
        name?.to_str().ok()
    }

    fn of_kind(&self, kind: u32) -> impl Iterator<Item = u32> {
        // SAFETY: valid.
        let count = unsafe { libbpf_sys::btf__type_cnt(self.btf.as_ptr()) };
        (self.first..count).filter(move |id| self.at(*id).is_some_and(|one| one.kind == kind))
    }

    fn functions(&self) -> Vec<Taker> {
        let taker = |id| {
            let argument = self.packet_among(self.at(id)?.reference, 0)?;
            Some(Taker { name: self.name(id)?.to_owned(), argument, id: Some(id) })
        };
        self.of_kind(FUNCTION).filter_map(taker).collect()
    }

    /// Which of a prototype's parameters is a packet, the first `skipped` left out.
    fn packet_among(&self, prototype: u32, skipped: usize) -> Option<u8> {
        let prototype = self.at(prototype).filter(|one| one.kind == PROTOTYPE)?;
        // SAFETY: a prototype's parameters, as many as it says, follow it; libbpf has checked that.
        let all = unsafe { std::slice::from_raw_parts(prototype.behind, prototype.count) };
        for (at, parameter) in all.iter().skip(skipped).take(ARGUMENTS).enumerate() {
            if self.is_packet(parameter.type_) {
                return u8::try_from(at + 1).ok();
            }
            // It may take two registers, or none.
            if self
                .at(self.bare(parameter.type_))
                .is_none_or(|one| [STRUCT, UNION].contains(&one.kind))
            {
                return None;
            }
        }
        None
    }

    fn is_packet(&self, id: u32) -> bool {
        let Some(target) = self.pointee(id).map(|id| self.bare(id)) else { return false };
        self.at(target).is_some_and(|one| one.kind == STRUCT) && self.name(target) == Some(PACKET)
    }

    fn pointee(&self, id: u32) -> Option<u32> {
        let one = self.at(self.bare(id))?;
        (one.kind == POINTER).then_some(one.reference)
    }

    /// Without typedefs, `const` and the like.
    fn bare(&self, mut id: u32) -> u32 {
        while let Some(one) = self.at(id).filter(|one| MODIFIERS.contains(&one.kind)) {
            id = one.reference;
        }
        id
    }
}

impl Drop for Types<'_> {
    fn drop(&mut self) {
        if self.is_ours {
            // SAFETY: ours, and nothing of it is left.
            unsafe { libbpf_sys::btf__free(self.btf.as_ptr()) };
        }
    }
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
