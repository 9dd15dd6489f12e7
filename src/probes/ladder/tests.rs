#![allow(clippy::unwrap_used)]

use super::*;

fn way(rung: Rung, target: &'static str) -> Way {
    Way::new(rung, [Hook::new(rung, target, target)])
}

fn datum(name: &'static str, required: bool, ways: Vec<Way>) -> Datum {
    Datum { name, words: name, required, ways }
}

fn two() -> [Arrangement; 2] {
    let calls = || datum("calls", false, vec![way(Rung::TpBtf, "calls")]);
    let table = datum("table", true, vec![way(Rung::Iter, "storage")]);
    let other = datum("table", true, vec![way(Rung::Kprobe, "destruct")]);
    let mut more = calls();
    more.ways.push(way(Rung::Kprobe, "calls"));
    [
        Arrangement { data: vec![table, calls()], limit: "the others can't use it" },
        Arrangement { data: vec![other, more], limit: "it needs that" },
    ]
}

const TARGETS: [&str; 4] = ["storage", "calls", "destruct", "elsewhere"];

fn without(words: &str) -> Tried {
    Tried::without(words, &two(), &TARGETS).unwrap()
}

#[test]
fn the_first_arrangement_that_has_all_is_taken() {
    assert_eq!(choose(&two(), &without("")).arrangement, 0);
    assert_eq!(choose(&two(), &without("tp_btf")).arrangement, 1);
    assert_eq!(choose(&two(), &without("tp_btf,kprobe")).arrangement, 0);
    assert_eq!(choose(&two(), &without(" storage ,")).arrangement, 1);
}

#[test]
fn what_is_needed_weighs_more_than_what_is_missing() {
    let choice = choose(&two(), &without("storage,calls"));
    assert_eq!(choice.arrangement, 1);
    assert!(choice.has("table") && !choice.has("calls"));
    assert!(choice.lacking().is_none());
}

#[test]
fn each_better_way_has_its_reason() {
    let choice = choose(&two(), &without("tp_btf"));
    let table = &choice.standings[0].above;
    let words = table.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(words, ["iter storage: the others can't use it"]);
    let choice = choose(&two(), &without("storage"));
    let words = choice.standings[0].above[0].to_string();
    assert_eq!(words, "iter storage: switched off by NETTRACE_WITHOUT");
}

#[test]
fn what_is_missing_has_the_reasons_of_all_arrangements() {
    let choice = choose(&two(), &without("tp_btf,destruct"));
    assert_eq!(choice.arrangement, 0);
    let above = choice.standings[1].above.iter().map(ToString::to_string).collect::<Vec<_>>();
    let words = ["tp_btf calls: switched off by NETTRACE_WITHOUT", "kprobe calls: it needs that"];
    assert_eq!(above, words);
}

#[test]
fn what_is_against_it_is_told_of_all_arrangements() {
    let tried = without("storage,destruct");
    assert!(choose(&two(), &tried).lacking().is_some());
    let targets: Vec<_> = against(&two(), &tried, "table").iter().map(|r| r.target).collect();
    assert_eq!(targets, ["storage", "destruct"]);
}

#[test]
fn a_switch_that_switches_nothing_is_an_error() {
    let error = Tried::without("fentri", &two(), &TARGETS).unwrap_err().to_string();
    assert!(error.contains("there is no hook fentri"), "{error}");
}

#[test]
fn the_first_failure_is_the_reason() {
    let hook = Hook::new(Rung::TpBtf, "calls", "calls");
    let mut tried = without("tp_btf");
    tried.insert(&hook, missing(&hook));
    assert_eq!(tried.failure(&hook), Some(&Reason::SwitchedOff { by: WITHOUT }));
}

#[test]
fn what_another_probe_has_is_no_mistake() {
    assert_eq!(choose(&two(), &without("elsewhere,netlink")).arrangement, 0);
}

#[test]
fn a_hook_is_switched_off_on_one_rung() {
    assert_eq!(choose(&two(), &without("iter:storage")).arrangement, 1);
    assert_eq!(choose(&two(), &without("kprobe:storage")).arrangement, 0);
}
