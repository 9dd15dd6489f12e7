//! A program's maps in the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use libbpf_sys::{
    BPF_F_RDONLY_PROG, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH,
    BPF_MAP_TYPE_LRU_PERCPU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PERCPU_HASH,
    BPF_MAP_TYPE_RINGBUF,
};
use nix::time::{ClockId, clock_gettime};

use super::sys::{self, Batch, MapSpec};
use crate::lang::output;
use crate::lang::program::{Map, MapKind, Parameter, Role};

/// Entries that are read at a time.
const BATCH: u32 = 512;
/// What a bucket of a hash may hold at most, before it is read one by one.
const LARGEST_BATCH: u32 = 1 << 16;

/// What the program is told through its parameters, and what the maps are to be like.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapOptions {
    /// The process of `-c`.
    pub child: Option<u32>,
    /// Bytes of the ring, a power of two of at least a page; none for what the program says.
    pub ring_size: Option<u32>,
}

/// The maps, in the order of [`Program::maps`](crate::lang::program::Program::maps).
#[derive(Debug)]
pub(super) struct KernelMaps {
    maps: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    fd: OwnedFd,
    kind: MapKind,
    key_size: usize,
    /// On all CPUs together, if it is per CPU.
    value_size: usize,
    max_entries: u32,
    role: Kind,
}

/// As far as one is needed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ring,
    Lost,
    Other,
}

/// Which map couldn't be made.
#[derive(Debug, thiserror::Error)]
#[error("the map {name} can't be made: {error}")]
pub struct MapError {
    /// Its name.
    pub name: String,
    /// What the kernel said.
    pub error: io::Error,
}

impl KernelMaps {
    /// Makes them, and writes what programs find in them at their start.
    pub(super) fn create(maps: &[Map], options: &MapOptions) -> Result<Self, MapError> {
        let cpus = sys::possible_cpus()
            .map_err(|error| MapError { name: "of all CPUs".to_owned(), error })?;
        let make = |map: &Map| {
            let named = |error| MapError { name: map.name.clone(), error };
            create(map, cpus, options).map_err(named)
        };
        let maps = maps.iter().map(make).collect::<Result<_, _>>()?;
        Ok(Self { maps })
    }

    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        self.maps.iter().map(|map| map.fd.as_raw_fd()).collect()
    }

    /// Where messages come from, and its size.
    pub(super) fn ring(&self) -> Option<(BorrowedFd<'_>, u32)> {
        let ring = self.maps.iter().find(|map| map.role == Kind::Ring)?;
        Some((ring.fd.as_fd(), ring.max_entries))
    }

    /// How many messages found no room so far.
    pub(super) fn lost(&self) -> u64 {
        let Some(map) = self.maps.iter().find(|map| map.role == Kind::Lost) else { return 0 };
        let mut values = vec![0; map.value_size];
        match sys::map_lookup(map.fd.as_fd(), &[0; 4], &mut values) {
            Ok(true) => values.chunks_exact(8).map(word).sum(),
            _ => 0,
        }
    }

    fn map(&self, map: usize) -> io::Result<&Kept> {
        self.maps.get(map).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word))
}

fn create(map: &Map, cpus: usize, options: &MapOptions) -> io::Result<Kept> {
    let kind = match map.kind {
        MapKind::Hash => BPF_MAP_TYPE_HASH,
        MapKind::LruHash => BPF_MAP_TYPE_LRU_HASH,
        MapKind::PercpuHash => BPF_MAP_TYPE_PERCPU_HASH,
        MapKind::PercpuLruHash => BPF_MAP_TYPE_LRU_PERCPU_HASH,
        MapKind::Array => BPF_MAP_TYPE_ARRAY,
        MapKind::PercpuArray => BPF_MAP_TYPE_PERCPU_ARRAY,
        MapKind::Ringbuf => BPF_MAP_TYPE_RINGBUF,
    };
    let is_read_only = matches!(map.role, Role::Constants(_) | Role::Parameters);
    let max_entries = match map.role {
        Role::Ring => options.ring_size.unwrap_or(map.max_entries),
        _ => map.max_entries,
    };
    let spec = MapSpec {
        kind,
        name: &map.name,
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries,
        flags: if is_read_only { BPF_F_RDONLY_PROG } else { 0 },
    };
    let fd = sys::map_create(&spec)?;
    match &map.role {
        Role::Constants(value) => {
            sys::map_update(fd.as_fd(), &[0; 4], value)?;
            sys::map_freeze(fd.as_fd())?;
        }
        // Not frozen: the verifier isn't to know them.
        Role::Parameters => sys::map_update(fd.as_fd(), &[0; 4], &parameters(options.child))?,
        _ => {}
    }
    let whole = map.value_size as usize;
    let value_size = if map.kind.is_per_cpu() { whole.next_multiple_of(8) * cpus } else { whole };
    let role = match map.role {
        Role::Ring => Kind::Ring,
        Role::Lost => Kind::Lost,
        _ => Kind::Other,
    };
    Ok(Kept { fd, kind: map.kind, key_size: map.key_size as usize, value_size, max_entries, role })
}

/// A word for each [`Parameter`].
fn parameters(child: Option<u32>) -> Vec<u8> {
    let read = |clock| {
        clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
    };
    let boot = read(ClockId::CLOCK_BOOTTIME);
    let tai_offset = read(ClockId::CLOCK_TAI) - boot;
    let mut words = [0_i64; Parameter::COUNT as usize];
    for (parameter, value) in [
        (Parameter::Start, boot),
        (Parameter::TaiOffset, tai_offset),
        (Parameter::Child, child.map_or(0, i64::from)),
    ] {
        words[parameter as usize] = value;
    }
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

impl Kept {
    fn is_array(&self) -> bool {
        matches!(self.kind, MapKind::Array | MapKind::PercpuArray)
    }

    fn value(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if key.len() != self.key_size {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let mut value = vec![0; self.value_size];
        Ok(sys::map_lookup(self.fd.as_fd(), key, &mut value)?.then_some(value))
    }

    fn keys(&self) -> io::Result<Vec<Vec<u8>>> {
        if self.is_array() {
            return Ok((0..self.max_entries).map(|index| index.to_ne_bytes().to_vec()).collect());
        }
        let (mut keys, mut next): (Vec<Vec<u8>>, _) = (Vec::new(), vec![0; self.key_size]);
        // Where a key goes away meanwhile, the kernel begins anew: no more than there can be.
        while keys.len() < self.max_entries as usize
            && sys::map_next_key(self.fd.as_fd(), keys.last().map(Vec::as_slice), &mut next)?
        {
            keys.push(next.clone());
        }
        Ok(keys)
    }

    fn entries(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        match self.batches() {
            // A kernel without batches of this kind, or a bucket that is too large for one.
            Err(error) if is_unfit(&error) => self.one_by_one(),
            read => read,
        }
    }

    fn one_by_one(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut entries = Vec::new();
        for key in self.keys()? {
            if let Some(value) = self.value(&key)? {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    fn batches(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut most = BATCH.min(self.max_entries.max(1));
        let mut entries = Vec::new();
        // The kernel's place is a number, or a key of an array.
        let (mut from, mut to) = (None::<Vec<u8>>, vec![0; self.key_size.max(8)]);
        loop {
            let mut keys = vec![0; self.key_size * most as usize];
            let mut values = vec![0; self.value_size * most as usize];
            let mut batch = Batch {
                from: from.as_deref(),
                to: &mut to,
                keys: &mut keys,
                values: &mut values,
                most,
            };
            let (count, is_last) = match sys::map_lookup_batch(self.fd.as_fd(), &mut batch) {
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOSPC) && most < LARGEST_BATCH =>
                {
                    most *= 4;
                    continue;
                }
                read => read?,
            };
            let read = keys.chunks_exact(self.key_size).zip(values.chunks_exact(self.value_size));
            entries.extend(
                read.take(count as usize).map(|(key, value)| (key.to_vec(), value.to_vec())),
            );
            if is_last {
                return Ok(entries);
            }
            from = Some(to.clone());
        }
    }
}

fn is_unfit(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP | libc::ENOSPC | 524))
}

impl output::Maps for KernelMaps {
    fn entries(&self, map: usize) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.map(map)?.entries()
    }

    fn value(&self, map: usize, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.map(map)?.value(key)
    }

    fn clear(&self, map: usize) -> io::Result<()> {
        let kept = self.map(map)?;
        if kept.is_array() {
            return self.zero(map);
        }
        for key in kept.keys()? {
            sys::map_delete(kept.fd.as_fd(), &key)?;
        }
        Ok(())
    }

    fn zero(&self, map: usize) -> io::Result<()> {
        let kept = self.map(map)?;
        let nothing = vec![0; kept.value_size];
        for key in kept.keys()? {
            sys::map_update(kept.fd.as_fd(), &key, &nothing)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_in_their_places() {
        let words = parameters(Some(77));
        let at = |parameter: Parameter| word(&words[parameter.offset() as usize..]);
        assert_eq!((at(Parameter::Child), at(Parameter::Zero)), (77, 0));
        assert!(at(Parameter::Start) > 0 && at(Parameter::TaiOffset) > 0);
        assert_eq!(words.len() as u32, Parameter::COUNT * 8);
    }
}
