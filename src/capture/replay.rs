//! Packets of a file, shown or written anew.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};

use super::{Output, Shown, check, direction, filter};
use crate::cli::CaptureArgs;
use crate::packet::comment::owner_of;
use crate::packet::filter::{Filter, LinkType};
use crate::packet::reader::{ReadPacket, Reader};
use crate::run::{Usage, is_closed_pipe};

/// libpcap's interpreter takes no packet then.
const NO_DIRECTION: &str =
    "inbound, outbound and ifindex can't be asked of a file; -Q in and -Q out choose by direction";

/// Goes through the file, and returns the exit status.
///
/// # Errors
/// What the file or the output says.
pub(super) fn run(args: &CaptureArgs, path: &Path) -> Result<i32> {
    check(args)?;
    match packets(args, path) {
        Err(error) if !is_closed_pipe(&error) => Err(error),
        _ => Ok(0),
    }
}

fn packets(args: &CaptureArgs, path: &Path) -> Result<()> {
    let filter = filter(args, LinkType::Ethernet)?;
    if filter.as_ref().is_some_and(Filter::asks_more_than_bytes) {
        return Err(Usage(NO_DIRECTION.to_owned()).into());
    }
    let doing = || format!("read {}", path.display());
    let input: Box<dyn Read + Send> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).with_context(doing)?)
    };
    let mut reader = Reader::new(input).with_context(doing)?;
    let snaplen = args.snaplen.map_or(usize::MAX, |bytes| bytes as usize);
    let mut output = None;
    let mut count = 0;
    while let Some(packet) = reader.next_packet().with_context(doing)? {
        let is_taken = filter.as_ref().is_none_or(|filter| takes(filter, packet));
        let is_other = |wanted| packet.direction.is_some_and(|direction| direction != wanted);
        if !is_taken || direction(args).is_some_and(is_other) {
            continue;
        }
        let owner = owner_of(&packet.comment);
        let shown = Shown {
            time_ns: packet.time_ns,
            length: packet.length,
            bytes: &packet.bytes[..packet.bytes.len().min(snaplen)],
            link: packet.link(),
            index: packet.index,
            interface: packet.interface.as_deref().unwrap_or_default(),
            direction: packet.direction,
            owner: owner.as_ref(),
            comment: &packet.comment,
        };
        let output = match &mut output {
            Some(output) => output,
            none => none.insert(Output::new(args, None, shown.time_ns)?),
        };
        if !output.packet(&shown)? {
            break;
        }
        count += 1;
        if args.count == Some(count) {
            break;
        }
    }
    // A file without packets is one too.
    output.map_or_else(|| Output::new(args, None, 0), Ok)?.end()
}

/// As in the kernel, a packet that begins with IP gets an Ethernet header without addresses, which doesn't count.
fn takes(filter: &Filter, packet: &ReadPacket) -> bool {
    const VERSION_6: u8 = 6;

    if !packet.is_raw {
        return filter.matches(&packet.bytes, packet.length);
    }
    let is_v6 = packet.bytes.first().is_some_and(|byte| byte >> 4 == VERSION_6);
    let ether_type: u16 = if is_v6 { 0x86dd } else { 0x0800 };
    let frame = [&[0; 12][..], &ether_type.to_be_bytes(), &packet.bytes].concat();
    filter.matches(&frame, packet.length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_doesn_t_tell_is_refused() {
        let of = |expression: &str| {
            let words = vec![expression.to_owned()];
            run(&CaptureArgs { words, ..CaptureArgs::default() }, Path::new("/nowhere/file"))
        };
        let error = of("tcp and inbound").unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("-Q in"));
        assert!(!of("tcp").unwrap_err().is::<Usage>());
    }
}
