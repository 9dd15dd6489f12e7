//! Probes of files: which files, functions and marked places their words mean.

use std::path::PathBuf;

use super::super::super::elf::{self, File};
use super::super::super::probe::{Address, Probe};
use super::super::super::types::Name;
use super::super::super::wildcard::{has_wildcard, is_match};
use super::Context;

/// Why no file can be looked at.
#[derive(Debug)]
pub(super) enum NoFile {
    /// It isn't there.
    Missing(String),
    /// None is named where one must be.
    Unnamed(String),
}

/// What there is of a uprobe or usdt; nothing of other probes.
///
/// # Errors
/// Where there is no such file.
pub(super) fn found(probe: &Probe, context: &Context<'_>) -> Result<Option<Vec<Probe>>, NoFile> {
    let probes = match probe {
        Probe::Uprobe { at_return, file, is_cpp, at } => {
            let mut probes = Vec::new();
            for path in files("uprobe", file, context)? {
                let of = |at| Probe::Uprobe {
                    at_return: *at_return,
                    file: path.to_string_lossy().into(),
                    is_cpp: *is_cpp,
                    at,
                };
                probes.extend(places(&path, at, *is_cpp).into_iter().map(of));
            }
            probes
        }
        Probe::Usdt { file, provider, event } => {
            let mut probes = Vec::new();
            for path in files("usdt", file, context)? {
                let provider = provider.as_deref().filter(|provider| !provider.is_empty());
                for (provider, event) in marked(&path, provider, event) {
                    let file = path.to_string_lossy().into();
                    probes.push(Probe::Usdt { file, provider: Some(provider), event });
                }
            }
            probes
        }
        _ => return Ok(None),
    };
    Ok(Some(probes))
}

/// Files that are meant by a word; `*`, or none for usdt, is all that the process of -p has in its memory, or all
/// processes have.
fn files(provider: &str, word: &str, context: &Context<'_>) -> Result<Vec<PathBuf>, NoFile> {
    let pid = context.options.pid;
    if matches!(word, "*" | "") {
        return match pid {
            Some(pid) => Ok(elf::mapped_files(pid)),
            None if word.is_empty() => Err(NoFile::Unnamed(
                "usdt probe must specify at least path or pid to probe. \
                                            To target all paths/pids set the path to '*'."
                    .to_owned(),
            )),
            None => Ok(elf::running_files()),
        };
    }
    let found = elf::shown(word, pid);
    if found.is_empty() {
        let why = format!("{provider} target file '{word}' does not exist or is not executable");
        return Err(NoFile::Missing(why));
    }
    Ok(found)
}

/// Functions of a file that are meant by a word; addresses and lines as they are.
fn places(path: &std::path::Path, at: &Address, is_cpp: bool) -> Vec<Address> {
    let Address::Function { name, offset } = at else { return vec![at.clone()] };
    let of = |name: &str| Address::Function { name: name.into(), offset: *offset };
    let Ok(file) = File::open(path) else { return Vec::new() };
    if !is_cpp && !has_wildcard(name) {
        return file.function(name).map(|function| of(&function.name)).into_iter().collect();
    }
    let functions = file.functions().unwrap_or_default();
    let is_meant = |function: &&elf::Function| match is_cpp {
        true => function.demangled().is_some_and(|words| {
            let without_parameters = words.split('(').next().unwrap_or_default();
            is_match(name, &words) || is_match(name, without_parameters)
        }),
        false => is_match(name, &function.name),
    };
    functions.iter().filter(is_meant).map(|function| of(&function.name)).collect()
}

/// Probes that a file's author marked, each once, in the file's order.
fn marked(path: &std::path::Path, provider: Option<&str>, event: &str) -> Vec<(Name, Name)> {
    let markers = File::open(path).and_then(|file| file.markers()).unwrap_or_default();
    let mut found: Vec<(Name, Name)> = Vec::new();
    for marker in markers {
        let is_meant = provider.is_none_or(|provider| is_match(provider, &marker.provider))
            && is_match(event, &marker.name);
        let probe = (Name::from(marker.provider), Name::from(marker.name));
        if is_meant && !found.contains(&probe) {
            found.push(probe);
        }
    }
    found
}
