use super::*;
use proptest::prelude::*;

fn facts() -> Facts<'static> {
    Facts {
        proto: "tcp",
        local: Some(("10.0.0.5".parse().unwrap(), 40000)),
        remote: Some(("192.0.2.7".parse().unwrap(), 443)),
        v6: None,
        state: "ESTAB",
        pid: 42,
        comm: "curl",
        uid: 1000,
        container: Some("docker:0123456789ab"),
        pod: None,
        cgroup: Some("/system.slice/docker.service"),
        netns: 7,
        netns_name: "blue",
    }
}

fn holds(text: &str) -> bool {
    Filter::parse(text).unwrap().matches(&facts())
}

#[test]
fn terms_that_hold() {
    for text in [
        "",
        "port:443",
        "dport:443",
        "sport:40000",
        "port:1-500",
        "port:80,443",
        "host:192.0.2.7",
        "dst:192.0.2.0/24",
        "src:10.0.0.0/8",
        "dst:0.0.0.0/0",
        "comm:cur",
        "pid:41,42",
        "state:estab",
        "proto:tcp",
        "container:0123",
        "netns:blue",
        "/cu.l/",
        "/:443 ESTAB/",
        "!pid:1",
        "!port:80 comm:CURL",
        "! /x/".replace(' ', "").as_str(),
    ] {
        assert!(holds(text), "{text}");
    }
}

#[test]
fn terms_that_do_not() {
    for text in [
        "port:80",
        "sport:443",
        "dport:40000",
        "src:192.0.2.7",
        "dst:10.0.0.0/8",
        "host:::1",
        "dst:::/0",
        "comm:nginx",
        "pid:1",
        "!port:443",
        "port:443 comm:nginx",
        "pod:x",
        "!/curl/",
    ] {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn scope_flags() {
    let with = |scope: fn(&mut Filter)| {
        let mut filter = Filter::default();
        scope(&mut filter);
        filter.matches(&facts())
    };
    assert!(with(|f| f.and_comm(&["curl".to_owned()])));
    assert!(!with(|f| f.and_comm(&["cur".to_owned()])));
    assert!(with(|f| f.and_uids(&[1000])));
    assert!(with(|f| f.and_family(false)));
    assert!(!with(|f| f.and_family(true)));
    assert!(with(|f| f.and_cgroup("system.slice/")));
    assert!(with(|f| f.and_cgroup("/")));
    assert!(!with(|f| f.and_cgroup("/system")));
    assert!(with(|f| f.and_netns(7)));
    assert!(!with(|f| f.and_netns(8)));
}

#[test]
fn errors_say_what_to_write() {
    let message = |text: &str| Filter::parse(text).unwrap_err().to_string();
    assert!(message("tcp").starts_with("“tcp” is no filter; try proto:tcp or /tcp/"));
    assert!(message("curl").starts_with("“curl” is no filter; try comm:curl or /curl/"));
    assert_eq!(message("prot:tcp"), "no filter key prot:; did you mean proto:?");
    assert_eq!(message("port:http"), "“http” is no value for port:, write port:443 or 8000-8100");
    assert!(message("curl").contains("try comm:curl or /curl/"));
    assert!(message("/(/").contains("is no regular expression"));
    assert!(message("/abc").contains("no closing /"));
    assert!(message("comm:").contains("needs a value"));
    assert!(message("host:10.0.0.0/33").contains("is no value"));
    assert!(message("port:9-1").contains("is no value"));
}

#[test]
fn a_slash_in_a_pattern_is_escaped() {
    assert!(Filter::parse(r"/a\/b c/ port:1").is_ok_and(|f| f.terms.len() == 2));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,40}") {
        if let Ok(filter) = Filter::parse(&text) {
            let _ = filter.matches(&facts());
        }
    }
}
