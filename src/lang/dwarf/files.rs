//! Where a file's DWARF is: in itself, beside it, in split units.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use gimli::{NativeEndian, Reader as _, SectionId};
use object::read::ReadCache;
use object::{Object, ObjectSection};

use super::{Dwarf, Part, Reader, Unit};

/// Where distributions keep what they strip off.
const SYSTEM: &str = "/usr/lib/debug";

/// All units of a file.
pub(super) fn parts(path: &Path, folders: &[PathBuf]) -> Option<Vec<Part>> {
    let dwarf = open(path, folders)?;
    let mut packages: Option<Option<gimli::DwarfPackage<Reader>>> = None;
    let mut parts = Vec::new();
    let mut headers = dwarf.units();
    while let Ok(Some(header)) = headers.next() {
        let Ok(unit) = dwarf.unit(header) else { continue };
        if unit.dwo_id.is_none() || !matches!(unit.dwo_name(), Ok(Some(_))) {
            parts.push(Part { dwarf: Rc::clone(&dwarf), unit, lines: None });
            continue;
        }
        let package = packages.get_or_insert_with(|| package(path));
        let split =
            split(&dwarf, &unit, path).or_else(|| of_package(package.as_ref()?, &dwarf, &unit));
        if let Some((of_split, mut inner)) = split {
            inner.copy_relocated_attributes(&unit);
            let lines = Some((Rc::clone(&dwarf), unit));
            parts.push(Part { dwarf: of_split, unit: inner, lines });
        }
    }
    (!parts.is_empty()).then_some(parts)
}

/// The file's own, or that of the one that was stripped off it.
fn open(path: &Path, folders: &[PathBuf]) -> Option<Rc<Dwarf>> {
    let contents = ReadCache::new(std::fs::File::open(path).ok()?);
    let object = object::File::parse(&contents).ok()?;
    if object.section_by_name(".debug_info").is_some() {
        return Some(Rc::new(load(&object)?));
    }
    let found = stripped_off(path, &object, folders).into_iter().find(|path| path.is_file())?;
    let contents = ReadCache::new(std::fs::File::open(found).ok()?);
    load(&object::File::parse(&contents).ok()?).map(Rc::new)
}

/// Where what was stripped off may be, the likeliest first.
fn stripped_off<'d>(path: &Path, object: &impl Object<'d>, folders: &[PathBuf]) -> Vec<PathBuf> {
    let own = path.parent().unwrap_or(Path::new("."));
    // As elfutils has it, folders are those of the file too.
    let folders: Vec<PathBuf> =
        folders.iter().flat_map(|folder| [folder.clone(), own.join(folder)]).collect();
    let mut found = Vec::new();
    if let Ok(Some((name, _))) = object.gnu_debuglink() {
        let name = String::from_utf8_lossy(name).into_owned();
        found.extend([own.join(&name), own.join(".debug").join(&name)]);
        found.extend(folders.iter().map(|folder| folder.join(&name)));
        found.push(Path::new(SYSTEM).join(own.strip_prefix("/").unwrap_or(own)).join(&name));
    }
    if let Some(name) = path.file_name() {
        let mut name = name.to_owned();
        name.push(".debug");
        found.extend(folders.iter().map(|folder| folder.join(&name)));
        found.push(own.join(".debug").join(&name));
    }
    if let Ok(Some(id)) = object.build_id()
        && let Some((first, rest)) = id.split_first()
    {
        let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!(".build-id/{first:02x}/{rest}.debug");
        found.extend(folders.iter().map(|folder| folder.join(&name)));
        found.push(Path::new(SYSTEM).join(name));
    }
    found
}

fn section<'d>(object: &impl Object<'d>, name: &str) -> Reader {
    let data = object.section_by_name(name).and_then(|section| section.data().ok());
    Reader::new(data.unwrap_or_default().into(), NativeEndian)
}

fn load<'d>(object: &impl Object<'d>) -> Option<Dwarf> {
    Dwarf::load(|id: SectionId| Ok::<_, gimli::Error>(section(object, id.name()))).ok()
}

/// The file of a split unit, by its name where it was compiled, or beside the program.
fn split(parent: &Dwarf, unit: &Unit, path: &Path) -> Option<(Rc<Dwarf>, Unit)> {
    let name = parent.attr_string(unit, unit.dwo_name().ok()??).ok()?;
    let name = PathBuf::from(name.to_string_lossy().ok()?.into_owned());
    let folder = unit.comp_dir.as_ref().and_then(|folder| folder.to_string_lossy().ok());
    let compiled = folder.map(|folder| Path::new(&*folder).join(&name));
    let beside = Some(path.parent()?.join(name.file_name()?));
    let file = compiled.into_iter().chain(beside).find(|file| file.is_file())?;
    let contents = ReadCache::new(std::fs::File::open(file).ok()?);
    let object = object::File::parse(&contents).ok()?;
    let of_split = |id: SectionId| {
        let name = id.dwo_name().unwrap_or_default();
        Ok::<_, gimli::Error>(section(&object, name))
    };
    let mut dwarf = Dwarf::load(of_split).ok()?;
    dwarf.make_dwo(parent);
    first_unit(dwarf)
}

fn first_unit(dwarf: Dwarf) -> Option<(Rc<Dwarf>, Unit)> {
    let header = dwarf.units().next().ok()??;
    let unit = dwarf.unit(header).ok()?;
    Some((Rc::new(dwarf), unit))
}

/// Split units of a whole program, put together beside it.
fn package(path: &Path) -> Option<gimli::DwarfPackage<Reader>> {
    let mut name = path.file_name()?.to_owned();
    name.push(".dwp");
    let contents = ReadCache::new(std::fs::File::open(path.with_file_name(name)).ok()?);
    let object = object::File::parse(&contents).ok()?;
    let of_package = |id: SectionId| {
        let name = id.dwo_name().unwrap_or_default();
        Ok::<_, gimli::Error>(section(&object, name))
    };
    gimli::DwarfPackage::load(of_package, Reader::new([].into(), NativeEndian)).ok()
}

fn of_package(
    package: &gimli::DwarfPackage<Reader>,
    parent: &Dwarf,
    unit: &Unit,
) -> Option<(Rc<Dwarf>, Unit)> {
    first_unit(package.find_cu(unit.dwo_id?, parent).ok()??)
}
