//! BPF programs that are loaded: programs can be attached to their functions, as to the kernel's.

use libbpf_rs::btf::{Btf, types};
use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions, ProgramInfo};

use super::types::Name;

/// A function of a program that is loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProgramFunction {
    /// The program's number.
    pub program: u32,
    /// Its name; the program's own is its first function.
    pub name: Name,
    /// Its number among the program's types.
    pub type_id: u32,
}

/// All functions of all programs that have types, each once. Needs CAP_SYS_ADMIN; without it there are none.
pub(super) fn functions() -> Vec<ProgramFunction> {
    let options = ProgInfoQueryOptions::default().include_func_info(true);
    let mut all: Vec<ProgramFunction> =
        ProgInfoIter::with_query_opts(options).flat_map(|program| of(&program)).collect();
    all.sort();
    all.dedup_by(|second, first| first.program == second.program && first.name == second.name);
    all
}

fn of(program: &ProgramInfo) -> Vec<ProgramFunction> {
    // Only programs whose BTF has the functions can be attached to; one may be gone by now.
    let Some(btf) = (program.btf_id != 0).then(|| Btf::from_prog_id(program.id).ok()).flatten()
    else {
        return Vec::new();
    };
    let function = |info: &libbpf_sys::bpf_func_info| {
        let function = btf.type_by_id::<types::Func<'_>>(info.type_id.into())?;
        Some(ProgramFunction {
            program: program.id,
            name: function.name()?.to_str()?.into(),
            type_id: info.type_id,
        })
    };
    program.func_info.iter().filter_map(function).collect()
}
