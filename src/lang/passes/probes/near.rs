//! What may have been meant by a probe that isn't there.

use super::super::super::probe::{Address, Probe};
use super::super::super::types::Name;
use super::Context;
use super::{expand, files};
use crate::filter::nearest;

/// Letters of a name for one that may be wrong in it, beside one.
const LETTERS: usize = 6;

/// The probe that differs by some letters in its last word, or by the word before.
pub(super) fn near(probe: &Probe, context: &Context<'_>) -> Option<Name> {
    let mut any = probe.clone();
    let wanted = std::mem::replace(last(&mut any)?, "*".into());
    let mut there = all(&any, context);
    let names: Vec<Name> = there.iter_mut().filter_map(|of| last(of).cloned()).collect();
    if let Some(near) = alike(&wanted, names.iter().map(|name| &**name)) {
        *last(&mut any)? = near.into();
        return Some(expand::name(&any, ""));
    }
    let mut elsewhere = probe.clone();
    match &mut elsewhere {
        Probe::Tracepoint { category, .. } => *category = "*".into(),
        Probe::Kprobe { module, .. } | Probe::Fentry { module, .. } => *module = None,
        _ => return None,
    }
    all(&elsewhere, context).first().map(|of| expand::name(of, ""))
}

/// The name among many that differs by some letters.
pub(in super::super) fn alike<'n>(
    wanted: &str,
    names: impl Iterator<Item = &'n str>,
) -> Option<&'n str> {
    let wrong = 1 + wanted.len() / LETTERS;
    let near = nearest(wanted, names.filter(|name| name.len().abs_diff(wanted.len()) <= wrong))?;
    (strsim::damerau_levenshtein(near, wanted) <= wrong).then_some(near)
}

fn all(probe: &Probe, context: &Context<'_>) -> Vec<Probe> {
    let of_files = files::found(probe, context).ok().flatten();
    of_files.or_else(|| expand::found(probe, context)).unwrap_or_default()
}

/// The word that says most.
fn last(probe: &mut Probe) -> Option<&mut Name> {
    match probe {
        Probe::Tracepoint { event, .. }
        | Probe::RawTracepoint { event, .. }
        | Probe::Usdt { event, .. } => Some(event),
        Probe::Fentry { function, .. } | Probe::FentryBpf { function, .. } => Some(function),
        Probe::Kprobe { at: Address::Function { name, .. }, .. }
        | Probe::Uprobe { at: Address::Function { name, .. }, .. } => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_by_some_letters() {
        let near = |wanted| alike(wanted, ["tcp_connect", "tcp_close", "udp_sendmsg"].into_iter());
        assert_eq!(near("tcp_conect"), Some("tcp_connect"));
        assert_eq!(near("tcp_clsoe"), Some("tcp_close"));
        assert_eq!(near("udp"), None);
        assert_eq!(near("tcp_recvmsg"), None);
    }
}
