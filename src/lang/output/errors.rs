//! What fails while a program runs.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;

use super::super::diagnostics;
use super::super::program::{Action, MOST_ROUNDS, RuntimeError};
use super::super::source::Span;
use super::{Format, Output};

/// Errors that were told, by their actions' places and what the kernel returned: how often each came again.
///
/// A probe that fails does so at each event, perhaps a million times a second.
#[derive(Debug, Default)]
pub(super) struct Repeated(BTreeMap<(usize, i64), u64>);

impl Output<'_> {
    /// What failed, of the action at `place`. In text it is told once, and how often it happened again at the end.
    pub(super) fn runtime_error(
        &mut self,
        place: usize,
        error: RuntimeError,
        span: Span,
        code: i64,
    ) -> io::Result<()> {
        if self.options.without_warnings {
            return Ok(());
        }
        let message = runtime_message(error, code);
        let helper = match error {
            RuntimeError::Helper(helper) => Some(helper_name(helper)),
            _ => None,
        };
        if self.options.format == Format::Json {
            return match helper {
                Some(helper) => {
                    let message = errno_text(code);
                    let texts = [("msg", message.as_bytes()), ("helper", helper.as_bytes())];
                    self.json_told("helper_error", &texts, Some(code), span)
                }
                None => self.json_told("runtime_error", &[("msg", message.as_bytes())], None, span),
            };
        }
        match self.repeated.0.entry((place, code)) {
            Entry::Occupied(mut known) => {
                *known.get_mut() += 1;
                return Ok(());
            }
            Entry::Vacant(new) => _ = new.insert(0),
        }
        let message = match helper {
            Some(helper) => {
                format!("{message}\nAdditional Info - helper: {helper}, retcode: {code}")
            }
            None => message,
        };
        let mut text = String::new();
        diagnostics::place("WARNING", span, &message, self.sources, &mut text);
        self.add_calls("WARNING", span, &mut text);
        self.tell(&text)
    }

    /// How often errors came again.
    pub(super) fn tell_repeated(&mut self) -> io::Result<()> {
        for ((place, code), times) in std::mem::take(&mut self.repeated).0 {
            let Some(Action::RuntimeError { error, span }) = self.program.actions.get(place) else {
                continue;
            };
            if times > 0 {
                let (at, message) = (self.sources.place(*span), runtime_message(*error, code));
                let s = if times == 1 { "" } else { "s" };
                self.tell(&format!("{at}: WARNING: {times} more time{s}: {message}\n"))?;
            }
        }
        Ok(())
    }
}

pub(super) fn errno_text(code: i64) -> String {
    let errno = i32::try_from(-code).unwrap_or_default();
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn runtime_message(error: RuntimeError, code: i64) -> String {
    use libbpf_sys::{
        BPF_FUNC_map_delete_elem as DELETE, BPF_FUNC_map_lookup_elem as LOOKUP,
        BPF_FUNC_map_update_elem as UPDATE,
    };

    match error {
        RuntimeError::DivideByZero => {
            "Divide or modulo by 0 detected. This can lead to unexpected results. 1 is being \
             used as the result."
        }
        RuntimeError::OutOfBounds => {
            "Array access out of bounds. This can lead to unexpected results."
        }
        RuntimeError::KernelStack => "Error reading kstack.",
        RuntimeError::UserStack => "Error reading ustack.",
        RuntimeError::LoopEnded => {
            return format!(
                "this loop was ended after {MOST_ROUNDS} rounds, the most that the kernel allows"
            );
        }
        RuntimeError::Helper(UPDATE) if code == -i64::from(libc::E2BIG) => {
            "Map full; can't update element. Try increasing max_map_keys config or manually \
             setting the max entries in a map declaration e.g. `let @a = hash(5000)`"
        }
        RuntimeError::Helper(DELETE) if code == -i64::from(libc::ENOENT) => {
            "Can't delete map element because it does not exist."
        }
        RuntimeError::Helper(LOOKUP) => "Can't lookup map element because it does not exist.",
        RuntimeError::Helper(_) => return errno_text(code),
    }
    .to_owned()
}

/// Those that programs tell of.
fn helper_name(helper: u32) -> String {
    match helper {
        libbpf_sys::BPF_FUNC_map_lookup_elem => "map_lookup_elem",
        libbpf_sys::BPF_FUNC_map_update_elem => "map_update_elem",
        libbpf_sys::BPF_FUNC_map_delete_elem => "map_delete_elem",
        libbpf_sys::BPF_FUNC_probe_read => "probe_read",
        libbpf_sys::BPF_FUNC_probe_read_str => "probe_read_str",
        libbpf_sys::BPF_FUNC_probe_read_user => "probe_read_user",
        libbpf_sys::BPF_FUNC_probe_read_kernel => "probe_read_kernel",
        libbpf_sys::BPF_FUNC_probe_read_user_str => "probe_read_user_str",
        libbpf_sys::BPF_FUNC_probe_read_kernel_str => "probe_read_kernel_str",
        libbpf_sys::BPF_FUNC_get_stack => "get_stack",
        libbpf_sys::BPF_FUNC_send_signal => "send_signal",
        libbpf_sys::BPF_FUNC_override_return => "override_return",
        other => return other.to_string(),
    }
    .to_owned()
}
