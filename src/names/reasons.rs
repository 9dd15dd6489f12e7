//! Why the kernel drops packets: its reasons by number, which are others in each kernel and so are read
//! from its own types, and the names of what is told beside them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::btf::{self, Btf, Id, Kind};
use crate::filter::nearest;
use crate::sample::DropKind;

const CORE: &str = "skb_drop_reason";
const SUBSYSTEMS: &str = "skb_drop_reason_subsys";
const PREFIX: &str = "SKB_DROP_REASON_";
const SUBSYSTEM_PREFIX: &str = "SKB_DROP_REASON_SUBSYS_";
/// A reason is its subsystem's number and its own; the core's is 0.
const SUBSYSTEM_SHIFT: u32 = 16;

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
    pub fn of_kernel(btf: &Rc<Btf>) -> Self {
        let Some(core) = members(btf, CORE) else {
            return Reasons::default();
        };
        let subsystems = members(btf, SUBSYSTEMS).unwrap_or_default();
        let mut others: Vec<Members> = Vec::new();
        if !subsystems.is_empty() {
            let is_other = |name: &str| name.contains("drop_reason") && name != CORE;
            others = enums(btf, is_other);
            for name in modules(&subsystems) {
                let module = Btf::module(&name, Rc::clone(btf));
                others.extend(module.iter().flat_map(|module| enums(module, |_| true)));
            }
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

fn is_enum(kind: Kind) -> bool {
    matches!(kind, Kind::Enum { .. })
}

fn members(btf: &Btf, name: &str) -> Option<Members> {
    btf.find(name, is_enum).map(|id| members_of(btf, id))
}

/// All enums of such names.
fn enums(btf: &Btf, is_wanted: impl Fn(&str) -> bool) -> Vec<Members> {
    let ids = btf.ids().filter(|id| is_enum(btf.kind(*id)) && is_wanted(btf.name(*id)));
    ids.map(|id| members_of(btf, id)).collect()
}

fn members_of(btf: &Btf, id: Id) -> Members {
    btf.constants(id).map(|(name, value)| (name.to_owned(), value as u32)).collect()
}

/// Loaded modules that a subsystem is of: `mac80211` has MAC80211_UNUSABLE.
fn modules(subsystems: &Members) -> impl Iterator<Item = String> {
    let is_of = |module: &String| {
        let module = module.to_uppercase();
        subsystems.iter().any(|(name, _)| {
            name.strip_prefix(SUBSYSTEM_PREFIX).is_some_and(|name| name.starts_with(&module))
        })
    };
    btf::modules().into_iter().filter(is_of)
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
