//! How types lie in BTF, for the build too.

/// `struct btf_type`.
pub(crate) const TYPE: usize = 12;

/// Bytes behind a type's head, by its kind and length.
pub(crate) fn extra(info: u32) -> usize {
    let len = (info & 0xffff) as usize;
    match info >> 24 & 0x1f {
        1 | 14 | 17 => 4,
        3 => 12,
        4 | 5 | 15 | 19 => 12 * len,
        6 | 13 => 8 * len,
        _ => 0,
    }
}
