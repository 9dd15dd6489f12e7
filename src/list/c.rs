//! The kernel's types in C, from its BTF.

use std::fmt::Write;

use crate::btf::{Btf, Id, Kind};

/// Named structs, unions and enums, in the order of their names, each name once.
pub(super) fn types(btf: &Btf) -> Vec<(String, Id)> {
    let named = |id: Id| {
        let word = match btf.kind(id) {
            Kind::Struct(_) => "struct",
            Kind::Union(_) => "union",
            Kind::Enum { .. } => "enum",
            _ => return None,
        };
        let name = btf.name(id);
        (!name.is_empty()).then(|| (format!("{word} {name}"), id))
    };
    let mut types: Vec<_> = btf.ids().filter_map(named).collect();
    types.sort();
    types.dedup_by(|b, a| a.0 == b.0);
    types
}

/// A type without a name: `struct sock *`.
pub(super) fn name(btf: &Btf, id: Id) -> String {
    declaration(btf, id, "", 0)
}

/// A struct, union or enum with all that is in it.
pub(super) fn definition(btf: &Btf, id: Id) -> String {
    let name = btf.name(id);
    body(btf, id, if name.is_empty() { String::new() } else { format!(" {name}") }, 0)
}

fn word(btf: &Btf, id: Id) -> &'static str {
    match btf.kind(id) {
        Kind::Union(_) => "union",
        Kind::Enum { .. } => "enum",
        _ => "struct",
    }
}

fn body(btf: &Btf, id: Id, name: String, depth: usize) -> String {
    let indent = "\t".repeat(depth);
    let mut text = format!("{}{name} {{\n", word(btf, id));
    // Writing to a string can't fail.
    for (constant, value) in btf.constants(id).filter(|_| matches!(btf.kind(id), Kind::Enum { .. }))
    {
        _ = writeln!(text, "{indent}\t{constant} = {value},");
    }
    for member in btf.members(id) {
        let declared = declaration(btf, member.ty, member.name, depth + 1);
        let bits = if member.bits > 0 { format!(": {}", member.bits) } else { String::new() };
        _ = writeln!(text, "{indent}\t{declared}{bits};");
    }
    text + &indent + "}"
}

/// What is declared by that declarator.
fn declaration(btf: &Btf, id: Id, declarator: &str, depth: usize) -> String {
    let with = |base: &str| match declarator {
        "" => base.to_owned(),
        _ => format!("{base} {declarator}"),
    };
    match btf.kind(id) {
        Kind::Pointer(to) => {
            let is_bracketed = matches!(unqualified(btf, to), Kind::Array(..) | Kind::Prototype(_));
            let declarator =
                if is_bracketed { format!("(*{declarator})") } else { format!("*{declarator}") };
            declaration(btf, to, &declarator, depth)
        }
        Kind::Array(of, count) => declaration(btf, of, &format!("{declarator}[{count}]"), depth),
        Kind::Prototype(returns) => {
            let parameters: Vec<String> = btf
                .parameters(id)
                .map(|parameter| declaration(btf, parameter.ty, parameter.name, depth))
                .collect();
            let parameters =
                if parameters.is_empty() { "void".to_owned() } else { parameters.join(", ") };
            declaration(btf, returns, &format!("{declarator}({parameters})"), depth)
        }
        Kind::Qualified(to) if matches!(unqualified(btf, to), Kind::Pointer(_)) => {
            let qualifier = btf.qualifier(id);
            declaration(btf, to, &format!("{qualifier} {declarator}"), depth)
        }
        Kind::Qualified(to) => {
            format!("{} {}", btf.qualifier(id), declaration(btf, to, declarator, depth))
        }
        Kind::Tagged(to) => declaration(btf, to, declarator, depth),
        Kind::Struct(_) | Kind::Union(_) | Kind::Enum { .. } | Kind::Forward => {
            match btf.name(id) {
                "" => with(&body(btf, id, String::new(), depth)),
                name => with(&format!("{} {name}", word(btf, id))),
            }
        }
        Kind::Void => with("void"),
        _ => with(btf.name(id)),
    }
}

fn unqualified(btf: &Btf, mut id: Id) -> Kind {
    while let Kind::Qualified(to) | Kind::Tagged(to) = btf.kind(id) {
        id = to;
    }
    btf.kind(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_s_types() {
        let btf = Btf::vmlinux().unwrap();
        let file = btf.find_struct("list_head").unwrap();
        assert_eq!(
            definition(&btf, file),
            "struct list_head {\n\tstruct list_head *next;\n\tstruct list_head *prev;\n}"
        );
        let read = btf.find_function("vfs_read").unwrap();
        let names: Vec<String> =
            btf.parameters(read).map(|parameter| name(&btf, parameter.ty)).collect();
        assert_eq!(names, ["struct file *", "char *", "size_t", "loff_t *"]);
        let all = types(&btf);
        assert!(all.iter().any(|(name, _)| name == "struct task_struct"));
        let (_, fops) = all.iter().find(|(name, _)| name == "struct file_operations").unwrap();
        let text = definition(&btf, *fops);
        assert!(text.contains("\tloff_t (*llseek)(struct file *, loff_t, int);\n"), "{text}");
    }
}
