//! Containers and units by cgroup. The kernel side gives a cgroup's id, which is its directory's
//! inode in the unified hierarchy; a process that lives also says its own path in /proc.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::visible;
use crate::kernel;
use crate::sample::ProcessRecord;

/// The root's id in every unified hierarchy: nothing is told by it.
const ROOT_ID: u64 = 1;
/// Processes and cgroups remembered; above it all are forgotten and read anew.
const REMEMBERED: usize = 65_536;
/// Shown of a container's 64 hexadecimal digits, as the runtimes' own tools do.
const SHORT_ID: usize = 12;

/// Where a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// `docker:0123456789ab`, `cri:…`, `podman:…`, `lxc:NAME`, or a systemd unit as `nginx.service`.
    pub name: String,
    /// Kubernetes' uid of the pod, for a container of one.
    pub pod: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Place {
    path: Option<Arc<str>>,
    container: Option<Arc<Container>>,
}

#[derive(Debug, Default)]
pub(super) struct Cgroups {
    by_process: HashMap<(u32, u64, u64), Place>,
    by_id: HashMap<u64, Arc<str>>,
}

impl Cgroups {
    pub(super) fn container(&mut self, process: &ProcessRecord) -> Option<Arc<Container>> {
        self.place(process).container.clone()
    }

    pub(super) fn path(&mut self, process: &ProcessRecord) -> Option<Arc<str>> {
        self.place(process).path.clone()
    }

    fn place(&mut self, process: &ProcessRecord) -> &Place {
        if self.by_process.len() > REMEMBERED {
            self.by_process.clear();
        }
        // One that is moved is looked at anew.
        let key = (process.tgid, process.start, process.cgroup);
        if !self.by_process.contains_key(&key) {
            let place = self.find(process);
            self.by_process.insert(key, place);
        }
        &self.by_process[&key]
    }

    fn find(&mut self, process: &ProcessRecord) -> Place {
        let own = fs::read(format!("/proc/{}/cgroup", process.tgid)).unwrap_or_default();
        // A path may be any bytes; what isn't text is no runtime's.
        let own = String::from_utf8_lossy(&own);
        let unified = own.lines().find_map(|line| line.strip_prefix("0::")).map(Arc::from);
        let path = unified.or_else(|| self.path_of(process.cgroup));
        // On hosts with both hierarchies, runtimes may put a container into the old one only.
        let others = own.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        let container = path.as_deref().into_iter().chain(others).find_map(container_of);
        Place { path, container: container.map(Arc::new) }
    }

    /// The path of a cgroup by its id, for a process that is gone.
    fn path_of(&mut self, id: u64) -> Option<Arc<str>> {
        if id <= ROOT_ID {
            return None;
        }
        if !self.by_id.contains_key(&id) {
            self.by_id = all_cgroups();
        }
        self.by_id.get(&id).cloned()
    }
}

/// Cgroups of the unified hierarchy, by id.
pub fn all_cgroups() -> HashMap<u64, Arc<str>> {
    let mut found = HashMap::new();
    if let Some(root) = kernel::cgroup2() {
        walk(&root, &root, &mut found);
    }
    found
}

/// Whether there is a cgroup of that path; so too where that can't be asked.
pub fn has_cgroup(path: &str) -> bool {
    kernel::cgroup2().is_none_or(|root| root.join(path.trim_matches('/')).is_dir())
}

/// Whether there are other hierarchies, in which a runtime may keep containers.
pub fn has_old_cgroups() -> bool {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    own.lines().any(|line| !line.starts_with("0::"))
}

fn walk(root: &Path, dir: &Path, found: &mut HashMap<u64, Arc<str>>) {
    if found.len() >= REMEMBERED {
        return;
    }
    if let (Ok(meta), Ok(path)) = (fs::metadata(dir), dir.strip_prefix(root)) {
        found.insert(meta.ino(), format!("/{}", path.display()).into());
    }
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(root, &entry.path(), found);
        }
    }
}

/// What runs in a cgroup, by the names that the runtimes give their directories.
pub fn container_of(path: &str) -> Option<Container> {
    let mut unit = None;
    let mut pod = None;
    let mut parent = "";
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if let Some(uid) = pod_uid(part) {
            pod = Some(uid);
        } else if let Some(name) = runtime_of(part, parent, pod.is_some()) {
            return Some(Container { name, pod });
        } else if part.ends_with(".service") || (part.ends_with(".scope") && part != "init.scope") {
            unit = Some(visible(part.as_bytes()));
        }
        parent = part;
    }
    unit.map(|name| Container { name, pod: None })
}

fn runtime_of(part: &str, parent: &str, in_pod: bool) -> Option<String> {
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some(format!("lxc:{}", visible(name.as_bytes())));
    }
    if let Some(name) = part.strip_prefix("machine-").and_then(|p| p.strip_suffix(".scope")) {
        return Some(format!("nspawn:{}", visible(name.as_bytes())));
    }
    if parent == "lxc" {
        return Some(format!("lxc:{}", visible(part.as_bytes())));
    }
    let bare = part.strip_suffix(".scope").unwrap_or(part);
    let (prefix, id) = bare.rsplit_once('-').unwrap_or(("", bare));
    // containerd without systemd writes `namespace:prefix:id`.
    let id = id.rsplit(':').next().unwrap_or(id);
    if id.len() != 64 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let runtime = match (prefix, parent) {
        ("docker", _) | ("", "docker") => "docker",
        ("libpod" | "libpod-conmon", _) | ("", "libpod_parent") => "podman",
        ("cri-containerd" | "crio", _) => "cri",
        _ if in_pod || bare.contains(":cri-containerd:") => "cri",
        _ => "container",
    };
    Some(format!("{runtime}:{}", &id[..SHORT_ID]))
}

/// `pod1234_5678` or `kubepods-burstable-pod1234_5678.slice`.
fn pod_uid(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match part.rsplit_once("-pod") {
        Some((_, uid)) => uid,
        None => part.strip_prefix("pod")?,
    };
    let is_uid =
        uid.len() >= 32 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b"-_".contains(&b));
    is_uid.then(|| uid.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "9a1b2c3d-1111-2222-3333-444455556666";

    fn name(path: &str) -> Option<String> {
        container_of(path).map(|c| c.name)
    }

    #[test]
    fn containers_by_runtime() {
        for (path, expected) in [
            (format!("/docker/{ID}"), "docker:0123456789ab"),
            (format!("/system.slice/docker-{ID}.scope"), "docker:0123456789ab"),
            (format!("/system.slice/docker-{ID}.scope/init"), "docker:0123456789ab"),
            (format!("/machine.slice/libpod-{ID}.scope"), "podman:0123456789ab"),
            (format!("/user.slice/user-0.slice/libpod_parent/libpod-{ID}"), "podman:0123456789ab"),
            (
                format!("/system.slice/containerd.service/k8s:cri-containerd:{ID}"),
                "cri:0123456789ab",
            ),
            ("/lxc/web".to_owned(), "lxc:web"),
            ("/lxc.payload.web/system.slice/nginx.service".to_owned(), "lxc:web"),
            ("/machine.slice/machine-deb.scope/system.slice".to_owned(), "nspawn:deb"),
        ] {
            assert_eq!(name(&path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn pods_by_both_drivers() {
        let slice = format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-{ID}.scope",
            UID.replace('-', "_")
        );
        let plain = format!("/kubepods/besteffort/pod{UID}/{ID}");
        for path in [slice, plain] {
            let container = container_of(&path).unwrap();
            assert_eq!(container.name, "cri:0123456789ab", "{path}");
            assert_eq!(container.pod.as_deref(), Some(UID), "{path}");
        }
    }

    #[test]
    fn units_and_nothing() {
        assert_eq!(name("/system.slice/nginx.service").as_deref(), Some("nginx.service"));
        let session = "/user.slice/user-1000.slice/session-3.scope";
        assert_eq!(name(session).as_deref(), Some("session-3.scope"));
        let app = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.service";
        assert_eq!(name(app).as_deref(), Some("app-x.service"));
        assert_eq!(name("/"), None);
        assert_eq!(name("/init.scope"), None);
        assert_eq!(name("/user.slice/user-1000.slice"), None);
    }

    #[test]
    fn a_stranger_s_name_is_made_visible() {
        assert_eq!(name("/lxc/\u{1b}[2J").as_deref(), Some("lxc:\\x1b[2J"));
    }
}
