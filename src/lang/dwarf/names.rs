//! Types as C writes them, for lists.

use gimli::constants as dw;

use super::{Offset, Part};

/// Types within types beyond which nobody looks.
const DEEPEST: u32 = 32;

impl Part {
    /// `struct Foo*`, `const char*`, `int[4]`.
    pub(super) fn c_name(&self, at: Offset, depth: u32) -> String {
        let Some(entry) = self.unit.entry(at).ok().filter(|_| depth < DEEPEST) else {
            return "void".to_owned();
        };
        let behind = || match self.type_of(&entry) {
            Some(of) => self.c_name(of, depth + 1),
            None => "void".to_owned(),
        };
        let tagged = |word: &str| format!("{word} {}", self.name(&entry).unwrap_or_default());
        match entry.tag() {
            dw::DW_TAG_pointer_type => format!("{}*", behind()),
            dw::DW_TAG_reference_type => format!("{}&", behind()),
            dw::DW_TAG_const_type => format!("const {}", behind()),
            dw::DW_TAG_volatile_type => format!("volatile {}", behind()),
            dw::DW_TAG_structure_type => tagged("struct"),
            dw::DW_TAG_class_type => tagged("class"),
            dw::DW_TAG_union_type => tagged("union"),
            dw::DW_TAG_enumeration_type => tagged("enum"),
            dw::DW_TAG_array_type => format!("{}[]", behind()),
            dw::DW_TAG_subroutine_type => format!("{}()", behind()),
            _ => self.name(&entry).unwrap_or_else(behind),
        }
    }
}
