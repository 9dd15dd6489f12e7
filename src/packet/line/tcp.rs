//! TCP, with sequence numbers relative to a connection's first.

use std::net::IpAddr;

use etherparse::{TcpOptionElement, TcpSlice};
use rustc_hash::FxHashMap;

use super::put;
use crate::packet::decode::Ip;

/// Connections remembered; above it all are forgotten, and begin anew with absolute numbers.
const REMEMBERED: usize = 65_536;

/// In place of what isn't there.
const CUT: &str = "[|tcp]";

const LONGEST_HEADER: usize = 60;

/// Of the byte with the header's length, in words of four bytes.
const OFFSET: usize = 12;

type End = (IpAddr, u16);

/// Where the sequence numbers of connections began: the lesser end's, and the greater one's.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    began: FxHashMap<(End, End), [u32; 2]>,
}

/// What is taken off a segment's numbers.
#[derive(Clone, Copy, Default)]
struct Base {
    sequence: u32,
    acknowledgment: u32,
}

impl Conversations {
    pub(super) fn write(&mut self, out: &mut String, ip: &Ip<'_>) {
        let mut cut = [0; LONGEST_HEADER];
        let (tcp, header_length) = match TcpSlice::from_slice(ip.payload) {
            Ok(tcp) => {
                let length = tcp.header_slice().len();
                (tcp, length)
            }
            Err(_) => match shortened(ip.payload, &mut cut) {
                Some(found) => found,
                None => return out.push_str(CUT),
            },
        };
        // As tcpdump has it: what opens a conversation, or is the first that is seen of one, is absolute.
        let known = if tcp.ack() { self.known(ip, &tcp) } else { None };
        let base = known.unwrap_or_default();
        let length = ip.length.saturating_sub(header_length);
        put(out, format_args!("Flags [{}]", flags(&tcp)));
        let sequence = tcp.sequence_number().wrapping_sub(base.sequence);
        if length > 0 || tcp.syn() || tcp.fin() || tcp.rst() {
            put(out, format_args!(", seq {sequence}"));
            if length > 0 {
                put(out, format_args!(":{}", sequence.wrapping_add(length as u32)));
            }
        }
        if tcp.ack() {
            let number = tcp.acknowledgment_number().wrapping_sub(base.acknowledgment);
            put(out, format_args!(", ack {number}"));
        }
        put(out, format_args!(", win {}", tcp.window_size()));
        if tcp.urg() {
            put(out, format_args!(", urg {}", tcp.urgent_pointer()));
        }
        let is_cut = header_length > tcp.header_slice().len();
        options(out, &tcp, base.acknowledgment, is_cut);
        put(out, format_args!(", length {length}"));
    }

    /// The base of a conversation that went on before this segment.
    fn known(&mut self, ip: &Ip<'_>, tcp: &TcpSlice<'_>) -> Option<Base> {
        let from = (ip.source, tcp.source_port());
        let to = (ip.destination, tcp.destination_port());
        let is_turned = to < from;
        let key = if is_turned { (to, from) } else { (from, to) };
        let (mine, others) = if is_turned { (1, 0) } else { (0, 1) };
        if let Some(began) = self.began.get(&key).filter(|_| !tcp.syn()) {
            return Some(Base { sequence: began[mine], acknowledgment: began[others] });
        }
        if self.began.len() >= REMEMBERED {
            self.began.clear();
        }
        let mut began = [0; 2];
        began[mine] = tcp.sequence_number();
        began[others] = tcp.acknowledgment_number().wrapping_sub(1);
        self.began.insert(key, began);
        None
    }
}

fn flags(tcp: &TcpSlice<'_>) -> String {
    let letters = [
        (tcp.fin(), 'F'),
        (tcp.syn(), 'S'),
        (tcp.rst(), 'R'),
        (tcp.psh(), 'P'),
        (tcp.ack(), '.'),
        (tcp.urg(), 'U'),
        (tcp.ece(), 'E'),
        (tcp.cwr(), 'W'),
    ];
    let set: String = letters.iter().filter(|(set, _)| *set).map(|(_, letter)| letter).collect();
    if set.is_empty() { "none".to_owned() } else { set }
}

/// A header whose options are cut off, as one that has only the options that are there, and how long it was.
fn shortened<'a>(
    bytes: &[u8],
    copy: &'a mut [u8; LONGEST_HEADER],
) -> Option<(TcpSlice<'a>, usize)> {
    let length = usize::from(bytes.get(OFFSET)? >> 4) * 4;
    let there = bytes.len().min(length) / 4 * 4;
    copy[..there].copy_from_slice(&bytes[..there]);
    copy[OFFSET] = (there * 4) as u8 | (copy[OFFSET] & 0xf);
    Some((TcpSlice::from_slice(&copy[..there]).ok()?, length))
}

fn options(out: &mut String, tcp: &TcpSlice<'_>, base: u32, is_cut: bool) {
    if tcp.options().is_empty() && !is_cut {
        return;
    }
    let relative = |(left, right): (u32, u32)| {
        format!("{{{}:{}}}", left.wrapping_sub(base), right.wrapping_sub(base))
    };
    let word = |option| match option {
        TcpOptionElement::Noop => "nop".to_owned(),
        TcpOptionElement::MaximumSegmentSize(size) => format!("mss {size}"),
        TcpOptionElement::WindowScale(scale) => format!("wscale {scale}"),
        TcpOptionElement::SelectiveAcknowledgementPermitted => "sackOK".to_owned(),
        TcpOptionElement::Timestamp(value, echo) => format!("TS val {value} ecr {echo}"),
        TcpOptionElement::SelectiveAcknowledgement(first, more) => {
            let all: Vec<_> = std::iter::once(first).chain(more.into_iter().flatten()).collect();
            let blocks: String = all.iter().copied().map(relative).collect();
            format!("sack {} {blocks}", all.len())
        }
    };
    let mut words = Vec::new();
    let mut iterator = tcp.options_iterator();
    for option in iterator.by_ref() {
        match option {
            Ok(option) => words.push(word(option)),
            Err(error) => {
                words.push(unread(&error));
                break;
            }
        }
    }
    // The iterator says nothing of the end.
    if tcp.options().len() > words.len() && iterator.rest().first() == Some(&0) {
        words.push("eol".to_owned());
    }
    if is_cut && words.last().is_none_or(|word| word != CUT) {
        words.push(CUT.to_owned());
    }
    put(out, format_args!(", options [{}]", words.join(",")));
}

fn unread(error: &etherparse::TcpOptionReadError) -> String {
    match error {
        etherparse::TcpOptionReadError::UnknownId(kind) => format!("unknown-{kind}"),
        _ => CUT.to_owned(),
    }
}
