//! Why the kernel drops packets: its reasons by number, which are others in each kernel and so are read
//! from its own types, and the names of what is told beside them.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs;
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::Arc;

use libbpf_rs::AsRawLibbpf;
use libbpf_rs::btf::{Btf, types};

use crate::filter::nearest;
use crate::sample::DropKind;

const CORE: &str = "skb_drop_reason";
const SUBSYSTEMS: &str = "skb_drop_reason_subsys";
const PREFIX: &str = "SKB_DROP_REASON_";
const SUBSYSTEM_PREFIX: &str = "SKB_DROP_REASON_SUBSYS_";
/// A reason is its subsystem's number and its own; the core's is 0.
const SUBSYSTEM_SHIFT: u32 = 16;
/// Where modules' types are.
const MODULES: &str = "/sys/kernel/btf";

/// Names and numbers of an enum of the kernel.
type Members = Vec<(String, u32)>;

/// A reason that is chosen: what it is of, and the kernel's number of it.
pub type Chosen = (DropKind, u32);

/// The reasons of this kernel.
#[derive(Clone, Debug, Default)]
pub struct Reasons {
    names: BTreeMap<u32, Arc<str>>,
    subsystems: BTreeMap<u32, String>,
}

impl Reasons {
    /// Those that the kernel of these types has, with those of its modules; none before Linux 5.17.
    pub fn of_kernel(btf: &Btf<'_>) -> Self {
        let Some(core) = members(btf, CORE) else {
            return Reasons::default();
        };
        let subsystems = members(btf, SUBSYSTEMS).unwrap_or_default();
        let mut others: Vec<Members> = Vec::new();
        if !subsystems.is_empty() {
            let enums = btf.type_by_kind::<types::Enum<'_>>();
            let is_other = |name: &str| name.contains("drop_reason") && name != CORE;
            others.extend(
                enums
                    .filter(|one| one.name().and_then(|name| name.to_str()).is_some_and(is_other))
                    .map(|one| members_of(&one)),
            );
            others.extend(modules(&subsystems).iter().flat_map(|module| of_module(btf, module)));
        }
        Reasons::of(core, subsystems, &others)
    }

    fn of(core: Members, subsystems: Members, others: &[Members]) -> Self {
        let shown = |name: String| name.strip_prefix(PREFIX).unwrap_or(&name).into();
        // The end of the list, and the mask of subsystems.
        let is_reason = |(name, number): &(String, u32)| {
            *number >> SUBSYSTEM_SHIFT == 0 && !name.ends_with("_MAX")
        };
        let mut names: BTreeMap<u32, Arc<str>> = core
            .into_iter()
            .filter(is_reason)
            .map(|(name, number)| (number, shown(name)))
            .collect();
        let subsystems: BTreeMap<u32, String> = subsystems
            .into_iter()
            .filter(|(name, number)| *number > 0 && !name.ends_with("_NUM"))
            .map(|(name, number)| {
                (number, name.strip_prefix(SUBSYSTEM_PREFIX).unwrap_or(&name).to_owned())
            })
            .collect();
        for (name, number) in others.iter().flatten() {
            let (subsystem, own) =
                (number >> SUBSYSTEM_SHIFT, number & ((1 << SUBSYSTEM_SHIFT) - 1));
            if own > 0 && subsystems.contains_key(&subsystem) {
                names.entry(*number).or_insert_with(|| name.as_str().into());
            }
        }
        Reasons { names, subsystems }
    }

    /// Whether the kernel tells none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The reason's name without what all of them begin with; its number if it has none.
    pub fn name(&self, number: u32) -> Arc<str> {
        if let Some(name) = self.names.get(&number) {
            return Arc::clone(name);
        }
        let own = number & ((1 << SUBSYSTEM_SHIFT) - 1);
        match self.subsystems.get(&(number >> SUBSYSTEM_SHIFT)) {
            Some(subsystem) => format!("{subsystem}#{own}").into(),
            None => format!("#{number}").into(),
        }
    }

    /// The reasons that are called so, in any case and with their prefix or without.
    ///
    /// # Errors
    /// The message for the user, with what was meant, maybe.
    pub fn select(&self, words: &[String]) -> Result<Vec<Chosen>, String> {
        words.iter().map(|word| self.find(word)).collect()
    }

    fn find(&self, word: &str) -> Result<Chosen, String> {
        if let Some(kind) = DropKind::ALL.into_iter().find(|kind| kind.name() == Some(word)) {
            return Ok((kind, 0));
        }
        let upper = word.to_uppercase();
        let bare = upper.strip_prefix(PREFIX).unwrap_or(&upper);
        if let Some((number, _)) = self.names.iter().find(|(_, name)| ***name == *bare) {
            return Ok((DropKind::Packet, *number));
        }
        let mut all: Vec<&str> = DropKind::ALL.into_iter().filter_map(DropKind::name).collect();
        let others = all.join(" ");
        all.extend(self.names.values().map(|name| &**name));
        Err(match nearest(bare, all.iter().copied()) {
            Some(near) => format!("this kernel has no drop reason {word}; did you mean {near}?"),
            None if self.is_empty() => format!(
                "this kernel tells no reasons (since Linux 5.17), so there is no {word}; there are {others}"
            ),
            None => {
                format!("this kernel has no drop reason {word}; there are {}", all.join(" "))
            }
        })
    }
}

fn members(btf: &Btf<'_>, name: &str) -> Option<Members> {
    btf.type_by_name::<types::Enum<'_>>(name).map(|one| members_of(&one))
}

fn members_of(one: &types::Enum<'_>) -> Members {
    let member = |member: types::EnumMember<'_>| {
        let name = member.name?.to_str()?.to_owned();
        Some((name, member.value as u32))
    };
    one.iter().filter_map(member).collect()
}

/// Loaded modules that a subsystem is of: `mac80211` has MAC80211_UNUSABLE.
fn modules(subsystems: &Members) -> Vec<String> {
    let names = fs::read_dir(MODULES).into_iter().flatten().filter_map(Result::ok);
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let is_of = |module: &String| {
        let module = module.to_uppercase();
        subsystems.iter().any(|(name, _)| {
            name.strip_prefix(SUBSYSTEM_PREFIX).is_some_and(|name| name.starts_with(&module))
        })
    };
    names.filter(is_of).collect()
}

/// All enums of a module's own, which libbpf-rs can't read yet: its types go on where the kernel's end.
fn of_module(kernel: &Btf<'_>, module: &str) -> Vec<Members> {
    const ENUM: u32 = 6;

    let Ok(path) = std::ffi::CString::new(format!("{MODULES}/{module}")) else {
        return Vec::new();
    };
    let base = kernel.as_libbpf_object().as_ptr();
    // SAFETY: a string with its end, and types that live longer than what is made of them.
    let Some(btf) = NonNull::new(unsafe { libbpf_sys::btf__parse_split(path.as_ptr(), base) })
    else {
        return Vec::new();
    };
    // SAFETY: both are valid.
    let ids = unsafe { libbpf_sys::btf__type_cnt(base)..libbpf_sys::btf__type_cnt(btf.as_ptr()) };
    let name_at = |offset| {
        // SAFETY: valid types; libbpf returns null, or a string that lives as long as they do.
        let name = unsafe { libbpf_sys::btf__name_by_offset(btf.as_ptr(), offset) };
        // SAFETY: as above.
        (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
    };
    let mut enums = Vec::new();
    for id in ids {
        // SAFETY: a number below the count.
        let Some(one) = (unsafe { libbpf_sys::btf__type_by_id(btf.as_ptr(), id).as_ref() }) else {
            continue;
        };
        if one.info >> 24 & 0x1f != ENUM {
            continue;
        }
        let first = std::ptr::from_ref(one).wrapping_byte_add(size_of::<libbpf_sys::btf_type>());
        // SAFETY: an enum's members, as many as it says, follow it; libbpf has checked that.
        let members = unsafe {
            let count = one.info as usize & 0xffff;
            std::slice::from_raw_parts(first.cast::<libbpf_sys::btf_enum>(), count)
        };
        let member = |member: &libbpf_sys::btf_enum| {
            Some((name_at(member.name_off)?, member.val.cast_unsigned()))
        };
        enums.push(members.iter().filter_map(member).collect());
    }
    // SAFETY: ours, and nothing of it is left.
    unsafe { libbpf_sys::btf__free(btf.as_ptr()) };
    enums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(all: &[(&str, u32)]) -> Members {
        all.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    fn reasons() -> Reasons {
        Reasons::of(
            members(&[
                ("SKB_NOT_DROPPED_YET", 0),
                ("SKB_CONSUMED", 1),
                ("SKB_DROP_REASON_NOT_SPECIFIED", 2),
                ("SKB_DROP_REASON_NO_SOCKET", 3),
                ("SKB_DROP_REASON_MAX", 4),
                ("SKB_DROP_REASON_SUBSYS_MASK", 0xffff_0000),
            ]),
            members(&[
                ("SKB_DROP_REASON_SUBSYS_CORE", 0),
                ("SKB_DROP_REASON_SUBSYS_OPENVSWITCH", 2),
                ("SKB_DROP_REASON_SUBSYS_NUM", 3),
            ]),
            &[
                members(&[("__OVS_DROP_REASON", 2 << 16), ("OVS_DROP_EXPLICIT", (2 << 16) + 2)]),
                members(&[("ANOTHER", 3), ("OF_NOBODY", (7 << 16) + 1)]),
            ],
        )
    }

    #[test]
    fn names_are_those_of_the_kernel_without_their_prefix() {
        let reasons = reasons();
        assert_eq!(&*reasons.name(3), "NO_SOCKET");
        assert_eq!(&*reasons.name(1), "SKB_CONSUMED");
        assert_eq!(&*reasons.name((2 << 16) + 2), "OVS_DROP_EXPLICIT");
    }

    #[test]
    fn what_has_no_name_has_its_number() {
        let reasons = reasons();
        assert_eq!(&*reasons.name(4), "#4");
        assert_eq!(&*reasons.name((2 << 16) + 9), "OPENVSWITCH#9");
        assert_eq!(&*reasons.name(7 << 16), "#458752");
        assert!(Reasons::default().is_empty());
    }

    #[test]
    fn reasons_are_found_by_name() {
        let reasons = reasons();
        let find = |word: &str| reasons.select(&[word.to_owned()]);
        assert_eq!(find("no_socket"), Ok(vec![(DropKind::Packet, 3)]));
        assert_eq!(find("SKB_DROP_REASON_NO_SOCKET"), Ok(vec![(DropKind::Packet, 3)]));
        assert_eq!(find("retransmit"), Ok(vec![(DropKind::Retransmit, 0)]));
        assert_eq!(
            find("NO_SOKET").unwrap_err(),
            "this kernel has no drop reason NO_SOKET; did you mean NO_SOCKET?"
        );
        assert!(find("zzz").unwrap_err().contains("there are retransmit reset-sent"));
        let none = Reasons::default().select(&["NO_SOCKET".to_owned()]).unwrap_err();
        assert!(none.contains("since Linux 5.17"), "{none}");
    }

    #[test]
    fn this_kernel_s_are_read() {
        let btf = crate::kernel::btf().unwrap();
        let reasons = Reasons::of_kernel(&btf);
        let has_reasons = crate::kernel::tracepoint_args(&btf, "kfree_skb") > Some(2);
        assert_eq!(reasons.is_empty(), !has_reasons);
        if has_reasons {
            let chosen = reasons.select(&["NO_SOCKET".to_owned()]).unwrap();
            assert_eq!(&*reasons.name(chosen[0].1), "NO_SOCKET");
        }
    }
}
