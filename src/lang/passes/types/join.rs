//! The smallest type that holds the values of two.

use super::super::super::types::{AddressSpace, Int, Pointer, Type};

/// What is known of a variable's, key's or value's type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The type so far.
    pub ty: Type,
    /// Whether all values so far are literals from 0 on, which are as good unsigned as signed.
    pub is_flexible: bool,
    /// Whether the program says what the type is.
    pub is_fixed: bool,
}

impl Known {
    /// A type that the program says.
    pub(super) fn fixed(ty: Type) -> Known {
        Known { ty, is_flexible: false, is_fixed: true }
    }

    /// Of these values too. Nothing if no type holds both.
    pub(super) fn join(&self, other: &Known) -> Option<Known> {
        let ty = join(&self.ty, self.is_flexible, &other.ty, other.is_flexible)?;
        let was_flexible = self.is_flexible || self.ty.is_none();
        Some(Known { ty, is_flexible: was_flexible && other.is_flexible, is_fixed: false })
    }
}

/// The smallest type that holds the values of two types, of which either may be flexible.
pub(super) fn join(a: &Type, a_is_flexible: bool, b: &Type, b_is_flexible: bool) -> Option<Type> {
    Some(match (a, b) {
        _ if a == b => a.clone(),
        (Type::None, other) | (other, Type::None) => other.clone(),
        (Type::Enum(..) | Type::Int(_), Type::Enum(..) | Type::Int(_)) => {
            Type::Int(ints(a.int()?, a_is_flexible, b.int()?, b_is_flexible))
        }
        (Type::String(a), Type::String(b)) => Type::String(*a.max(b)),
        (Type::Buffer(a), Type::Buffer(b)) => Type::Buffer(*a.max(b)),
        (Type::Tuple(a), Type::Tuple(b)) if a.len() == b.len() => {
            let items = a.iter().zip(b.iter()).map(|(a, b)| join(a, false, b, false));
            Type::Tuple(items.collect::<Option<Vec<Type>>>()?.into())
        }
        (Type::Record(a), Type::Record(b)) if a.len() == b.len() => {
            let fields = a.iter().map(|(name, a)| {
                let (_, b) = b.iter().find(|(other, _)| other == name)?;
                Some((name.clone(), join(a, false, b, false)?))
            });
            Type::Record(fields.collect::<Option<Vec<_>>>()?.into())
        }
        (Type::Pointer(a), Type::Pointer(b)) if is_alike(&a.to, &b.to) => {
            let space = if a.space == AddressSpace::Unknown { b.space } else { a.space };
            Type::Pointer(Pointer { to: a.to.clone(), space })
        }
        (Type::Array(of, length), Type::Array(other, other_length)) if of == other => {
            match (length, other_length) {
                (0, _) => b.clone(),
                (_, 0) => a.clone(),
                _ => return None,
            }
        }
        (Type::Aggregate(one), Type::Aggregate(other)) if one.kind() == other.kind() => a.clone(),
        _ => return None,
    })
}

/// Pointers to these can stand for each other.
fn is_alike(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Struct(a), Type::Struct(b)) => a == b,
        _ => a.kind() == b.kind(),
    }
}

fn ints(a: Int, a_is_flexible: bool, b: Int, b_is_flexible: bool) -> Int {
    let bits = a.bits.max(b.bits);
    if a.signed == b.signed {
        return Int { bits, signed: a.signed };
    }
    let (signed, unsigned) = if a.signed { (a, b) } else { (b, a) };
    let signed_is_flexible = if a.signed { a_is_flexible } else { b_is_flexible };
    if signed_is_flexible {
        return Int { bits, signed: false };
    }
    if signed.bits > unsigned.bits {
        return signed;
    }
    Int { bits: unsigned.bits.saturating_mul(2).min(64), signed: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(name: &str) -> Known {
        let (name, is_flexible) = name.strip_prefix('~').map_or((name, false), |name| (name, true));
        let signed = !name.starts_with('u');
        let bits = name.trim_start_matches("uint").trim_start_matches("int").parse().unwrap();
        Known { ty: Type::Int(Int { bits, signed }), is_flexible, is_fixed: false }
    }

    #[test]
    fn integers() {
        for (a, b, joined) in [
            ("int8", "int16", "int16"),
            ("uint8", "uint32", "uint32"),
            ("uint8", "int8", "int16"),
            ("uint32", "int8", "int64"),
            ("int32", "uint8", "int32"),
            ("uint64", "int64", "int64"),
            ("~int8", "uint64", "uint64"),
            ("~int16", "uint8", "uint16"),
            ("~int8", "int32", "int32"),
        ] {
            for (a, b) in [(a, b), (b, a)] {
                let known = int(a).join(&int(b)).unwrap();
                assert_eq!(known.ty, int(joined).ty, "{a} {b}");
                assert!(!known.is_flexible);
            }
        }
        assert!(int("~int8").join(&int("~int8")).unwrap().is_flexible);
        assert!(Known::default().join(&int("~int8")).unwrap().is_flexible);
    }

    #[test]
    fn others() {
        let string = |size| Known { ty: Type::String(size), ..Known::default() };
        assert_eq!(string(3).join(&string(8)), Some(string(8)));
        assert_eq!(string(3).join(&int("int8")), None);
        let pair = |a: &str, b| Type::tuple([int(a).ty, Type::String(b)]);
        assert_eq!(join(&pair("int8", 3), false, &pair("int64", 2), false), Some(pair("int64", 3)));
        assert_eq!(join(&pair("int8", 3), false, &Type::tuple([]), false), None);
    }
}
