//! `import "file.bt"`: what other files have goes into the one script.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::super::ast::{Import, Script};
use super::super::parser;
use super::Context;

/// Reads all files that a script imports, and those that they import.
pub(super) fn run(script: &mut Script, context: &mut Context<'_>) {
    let mut seen = HashSet::new();
    let mut waiting: Vec<(Import, PathBuf)> = Vec::new();
    let own = own_folder(context);
    let imports = std::mem::take(&mut script.imports);
    waiting.extend(imports.into_iter().rev().map(|import| (import, own.clone())));
    while let Some((import, folder)) = waiting.pop() {
        match files(&folder.join(&import.path)) {
            Ok(files) => {
                for file in files.into_iter().filter(|file| seen.insert(file.clone())) {
                    read(&file, &import, script, context, &mut waiting);
                }
            }
            Err(error) => {
                let message = format!("cannot import \"{}\": {error}", import.path);
                context.diagnostics.error(import.span, message);
            }
        }
    }
}

/// The folder of the script itself; that of the process if it isn't a file.
fn own_folder(context: &Context<'_>) -> PathBuf {
    let name = context.sources.of(Default::default()).map(|source| source.name.clone());
    Path::new(&name.unwrap_or_default()).parent().map(Path::to_owned).unwrap_or_default()
}

/// A file, or those of a folder that can be imported, in the order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    let told = |error: std::io::Error| error.to_string();
    let path = path.canonicalize().map_err(told)?;
    let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(&path) };
    let mode = folder.metadata().map_err(told)?.permissions().mode();
    if mode & 0o002 != 0 {
        return Err(format!("everybody may write into {}", folder.display()));
    }
    if !path.is_dir() {
        return Ok(vec![path]);
    }
    let entries = fs::read_dir(&path).map_err(told)?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|file| {
            let name = file.to_string_lossy();
            name.ends_with(".bt") || name.ends_with(".h") || name.ends_with(".bpf.c")
        })
        .collect();
    files.sort();
    Ok(files)
}

fn read(
    file: &Path,
    import: &Import,
    script: &mut Script,
    context: &mut Context<'_>,
    waiting: &mut Vec<(Import, PathBuf)>,
) {
    let name = file.to_string_lossy();
    if name.ends_with(".c") {
        context
            .diagnostics
            .error(import.span, format!("C code can't be imported: {name}"))
            .hint("nettrace compiles no C; write a macro instead");
        return;
    }
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            context.diagnostics.error(import.span, format!("{name}: {error}"));
            return;
        }
    };
    let span = context.sources.add(name.clone(), text);
    let Some(source) = context.sources.of(span) else { return };
    let imported = parser::parse(source, &mut context.diagnostics);
    if let Some(setting) = imported.config.first() {
        let message = "an imported script can't have a config block";
        context.diagnostics.error(setting.span, message);
    }
    let folder = file.parent().map(Path::to_owned).unwrap_or_default();
    waiting.extend(imported.imports.into_iter().rev().map(|import| (import, folder.clone())));
    script.c.extend(imported.c);
    script.maps.extend(imported.maps);
    script.macros.extend(imported.macros);
    script.functions.extend(imported.functions);
    // What is imported begins before what imports it.
    script.probes.splice(0..0, imported.probes);
}
