//! Counters of interfaces and the programs attached to them, asked of the kernel by netlink once a
//! tick. Attaches nothing.

use std::collections::HashMap;
use std::mem::size_of;

use anyhow::{Context, Result};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::tc::{TcAttribute, TcMessage};

use crate::netns::Netns;
use crate::probes::interfaces::xdp_programs;
use crate::probes::netlink::dump;
use crate::sample::IfaceRecord;

/// Reads the interfaces of a namespace, or of nettrace's own.
///
/// # Errors
/// Where netlink doesn't answer, or the namespace can't be entered.
pub fn read(netns: Option<&Netns>) -> Result<Vec<IfaceRecord>> {
    match netns {
        Some(netns) => netns.run(read_here),
        None => read_here(),
    }
}

fn read_here() -> Result<Vec<IfaceRecord>> {
    let links = dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))
        .context("read the interfaces' counters")?;
    let clsact = clsact_by_index();
    let mut records: Vec<IfaceRecord> = links
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(record(&link)),
            _ => None,
        })
        .collect();
    for record in &mut records {
        record.hooks.extend(tcx(record.index));
        if let Some(kind) = clsact.get(&record.index) {
            record.hooks.push(kind.clone());
        }
    }
    Ok(records)
}

fn record(link: &LinkMessage) -> IfaceRecord {
    let mut record = IfaceRecord { index: link.header.index, ..IfaceRecord::default() };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => record.name.clone_from(name),
            LinkAttribute::Stats64(stats) => {
                record.rx_bytes = stats.rx_bytes;
                record.tx_bytes = stats.tx_bytes;
                record.rx_packets = stats.rx_packets;
                record.tx_packets = stats.tx_packets;
                record.errors = stats.rx_errors + stats.tx_errors;
                record.drops = stats.rx_dropped + stats.tx_dropped + stats.rx_missed_errors;
            }
            _ => {}
        }
    }
    let xdp = xdp_programs(&link.attributes).into_iter();
    record.hooks.extend(xdp.map(|(mode, id)| format!("xdp:{mode}#{id}")));
    record
}

/// `tcx:in×1`, per direction; nothing where the kernel has no tcx or doesn't let us look.
fn tcx(index: u32) -> Vec<String> {
    let directions = [("in", libbpf_sys::BPF_TCX_INGRESS), ("out", libbpf_sys::BPF_TCX_EGRESS)];
    let count = |kind| {
        let mut opts = libbpf_sys::bpf_prog_query_opts {
            sz: size_of::<libbpf_sys::bpf_prog_query_opts>() as _,
            ..Default::default()
        };
        // SAFETY: opts says its own size and asks for no arrays, only for the count.
        let status =
            unsafe { libbpf_sys::bpf_prog_query_opts(index.cast_signed(), kind, &raw mut opts) };
        // SAFETY: both members of the union are the same u32.
        if status == 0 { unsafe { opts.__bindgen_anon_1.count } } else { 0 }
    };
    directions
        .into_iter()
        .map(|(name, kind)| (name, count(kind)))
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("tcx:{name}×{count}"))
        .collect()
}

/// Interfaces with a qdisc that classifiers hang on. Best effort: HOOK is a hint.
fn clsact_by_index() -> HashMap<u32, String> {
    let qdiscs = dump(RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default()));
    qdiscs
        .unwrap_or_default()
        .into_iter()
        .filter_map(|message| {
            let RouteNetlinkMessage::NewQueueDiscipline(qdisc) = message else {
                return None;
            };
            let kind = qdisc.attributes.iter().find_map(|a| match a {
                TcAttribute::Kind(kind) if kind == "clsact" || kind == "ingress" => Some(kind),
                _ => None,
            })?;
            Some((qdisc.header.index.cast_unsigned(), kind.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_without_privileges() {
        let records = read(None).unwrap();
        let lo = records.iter().find(|r| r.name == "lo").unwrap();
        assert_eq!(lo.rx_bytes, lo.tx_bytes);
    }
}
