//! Formats of printf and its like, against what they are to format.

use super::super::super::types::Type;
use super::Typer;

/// The conversions of a format, in their order, `%%` not among them: `d`, `s`, `rx` and so on.
pub(super) fn conversions(format: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        let flags = rest.trim_start_matches(['-', '+', ' ', '#', '0']);
        let width = flags
            .strip_prefix('*')
            .unwrap_or(flags.trim_start_matches(|c: char| c.is_ascii_digit()));
        let precision = width.strip_prefix('.').map_or(width, |rest| {
            rest.strip_prefix('*').unwrap_or(rest.trim_start_matches(|c: char| c.is_ascii_digit()))
        });
        let body = precision.trim_start_matches(['h', 'l', 'L', 'j', 'z', 't']);
        let length = match body.as_bytes() {
            [b'g', b'r', ..] | [b'r', b'h' | b'x', ..] => 2,
            [b'%', ..] => {
                rest = &body[1..];
                continue;
            }
            [first, ..] if b"diouxXeEfFGaAcspngr".contains(first) => 1,
            // No conversion: the sign stands for itself.
            _ => continue,
        };
        found.push(&body[..length]);
        rest = &body[length..];
    }
    found
}

impl Typer<'_, '_> {
    /// What is wrong with a format for values of these types.
    pub(super) fn check_format(&self, format: &str, types: &[Type]) -> Result<(), String> {
        let conversions = conversions(format);
        let (supplied, expected) = (types.len(), conversions.len());
        if supplied != expected {
            let which = if supplied < expected { "not enough" } else { "too many" };
            return Err(format!(
                "{which} arguments for format string ({supplied} supplied, {expected} expected)"
            ));
        }
        for (conversion, ty) in conversions.iter().zip(types) {
            let is_number = ty.is_int() || matches!(ty, Type::Bool | Type::Pointer(_));
            let is_ok = match *conversion {
                // What it is about was told already.
                _ if *ty == Type::None && self.context.diagnostics.errors() > 0 => true,
                _ if matches!(ty, Type::None | Type::Void) => {
                    return Err(format!("unable to print none type for specifier: {conversion}"));
                }
                "s" => true,
                "d" | "i" | "u" | "o" | "x" | "X" | "c" | "p" | "gr" => is_number,
                "r" | "rx" | "rh" => matches!(ty, Type::Buffer(_)),
                other => return Err(format!("unsupported format specifier: {other}")),
            };
            if !is_ok {
                let shown = self.shown(ty);
                return Err(format!(
                    "unsupported format specifier for type '{shown}': {conversion}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::conversions;

    #[test]
    fn conversions_are_found() {
        assert_eq!(
            conversions("%d %-6s %% %5.3llx %rx %rh %r%gr 100%% %*d"),
            ["d", "s", "llx".trim_start_matches('l'), "rx", "rh", "r", "gr", "d"]
        );
        assert!(conversions("%").is_empty());
    }
}
