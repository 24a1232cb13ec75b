//! Objects with resource versions and a history for watches.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Changes of a kind that are remembered for watches; a watch from before them is told that it is too old.
const HISTORY: usize = 20_000;
/// Objects that are read in one go.
const PIECE: usize = 500;

/// The kinds of objects that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` nodes; not in a namespace.
    Node,
    /// `v1` pods.
    Pod,
    /// `coordination.k8s.io/v1` leases.
    Lease,
    /// `v1` endpoints.
    Endpoints,
    /// `discovery.k8s.io/v1` endpoint slices.
    EndpointSlice,
    /// `v1` persistent volumes; not in a namespace.
    PersistentVolume,
    /// `v1` events.
    Event,
}

impl Kind {
    pub(crate) const ALL: [Kind; 7] =
        [Kind::Node, Kind::Pod, Kind::Lease, Kind::Endpoints, Kind::EndpointSlice, Kind::PersistentVolume, Kind::Event];

    /// Whether its objects stand in a namespace.
    pub(crate) fn namespaced(self) -> bool {
        !matches!(self, Kind::Node | Kind::PersistentVolume)
    }

    /// The prefix of its paths, its API version, its plural and its name.
    pub(crate) fn api(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Kind::Node => ("/api/v1", "v1", "nodes", "Node"),
            Kind::Pod => ("/api/v1", "v1", "pods", "Pod"),
            Kind::Lease => ("/apis/coordination.k8s.io/v1", "coordination.k8s.io/v1", "leases", "Lease"),
            Kind::Endpoints => ("/api/v1", "v1", "endpoints", "Endpoints"),
            Kind::EndpointSlice => {
                ("/apis/discovery.k8s.io/v1", "discovery.k8s.io/v1", "endpointslices", "EndpointSlice")
            }
            Kind::PersistentVolume => ("/api/v1", "v1", "persistentvolumes", "PersistentVolume"),
            Kind::Event => ("/api/v1", "v1", "events", "Event"),
        }
    }
}

/// Why the store refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is no such object.
    #[error("{0} not found")]
    NotFound(String),
    /// There is one of that name.
    #[error("{0} already exists")]
    AlreadyExists(String),
    /// It has changed since it was read.
    #[error(
        "Operation cannot be fulfilled on {0}: the object has been modified; please apply your changes to the latest version and try again"
    )]
    Conflict(String),
    /// The object is not whole.
    #[error("{0}")]
    Invalid(String),
    /// The history does not reach back that far.
    #[error("too old resource version: {0}")]
    Expired(u64),
}

/// One change, as a watch tells it.
#[derive(Debug, Clone)]
pub struct Change {
    /// The version that it made.
    pub version: u64,
    /// What changed.
    pub kind: Kind,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub what: &'static str,
    /// The object after it; for a deletion, before it.
    pub object: Arc<Value>,
}

type Key = (String, String);

/// An object as text: as a tree it would take several times the memory, and a large cluster has many pods.
struct Packed(Box<str>);

impl Packed {
    fn new(object: &Value) -> Arc<Packed> {
        Arc::new(Packed(object.to_string().into()))
    }

    fn value(&self) -> Arc<Value> {
        // It was written from a tree, so it reads back.
        Arc::new(serde_json::from_str(&self.0).unwrap_or_default())
    }
}

/// A change as it is remembered.
struct Past {
    version: u64,
    what: &'static str,
    object: Arc<Packed>,
}

/// What is remembered of a kind: busy kinds do not push the others' changes out.
#[derive(Default)]
struct History {
    forgotten: u64,
    changes: VecDeque<Past>,
}

#[derive(Default)]
struct Inner {
    version: u64,
    objects: BTreeMap<Kind, BTreeMap<Key, Arc<Packed>>>,
    pods_of: BTreeMap<String, BTreeSet<Key>>,
    history: BTreeMap<Kind, History>,
    token: Option<String>,
    metrics: String,
}

/// The objects. A handle: clones share them.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
    changed: watch::Sender<u64>,
    up: watch::Sender<bool>,
}

impl Default for Store {
    fn default() -> Self {
        Store::new()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.lock();
        let counts: Vec<_> = inner.objects.iter().map(|(kind, all)| (*kind, all.len())).collect();
        f.debug_struct("Store").field("version", &inner.version).field("objects", &counts).finish()
    }
}

impl Store {
    /// An empty store that is served.
    pub fn new() -> Store {
        Store { inner: Arc::default(), changed: watch::Sender::new(0), up: watch::Sender::new(true) }
    }

    // No code panics while it holds the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Demands this bearer token from every client; `None` demands none.
    pub fn set_token(&self, token: Option<String>) {
        self.lock().token = token;
    }

    /// What the API server's `/metrics` says.
    pub(crate) fn set_metrics(&self, text: String) {
        self.lock().metrics = text;
    }

    pub(crate) fn metrics(&self) -> String {
        self.lock().metrics.clone()
    }

    pub(crate) fn token(&self) -> Option<String> {
        self.lock().token.clone()
    }

    /// Whether the API answers. While it does not, connections are closed and watches end.
    pub fn set_up(&self, up: bool) {
        self.up.send_if_modified(|old| std::mem::replace(old, up) != up);
    }

    pub(crate) fn up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// Tells of every change: the newest version.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The newest version.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// One object.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let found = self.lock().objects.get(&kind)?.get(&(namespace.to_owned(), name.to_owned())).cloned();
        found.map(|packed| packed.value())
    }

    /// The objects of a kind, of one namespace or of all (`None`), by namespace and name.
    pub fn list(&self, kind: Kind, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.packed(kind, namespace).iter().map(|packed| packed.value()).collect()
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.lock().objects.get(&kind).map_or(0, BTreeMap::len)
    }

    /// A page of a kind: the first objects that `fits`, at most `limit`, that stand behind the place `after` (namespace and
    /// name), and how many objects stand behind the page, whether they fit or not.
    pub(crate) fn page(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        after: Option<(String, String)>,
        limit: usize,
        fits: impl Fn(&Value) -> bool,
    ) -> (Vec<Arc<Value>>, usize) {
        let mut from = match (after, namespace) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(namespace)) => Bound::Included((namespace.to_owned(), String::new())),
            (None, None) => Bound::Unbounded,
        };
        let mut page = Vec::new();
        loop {
            // Read piece by piece: the store is not to be locked while a large list is unpacked.
            let piece: Vec<(Key, Arc<Packed>)> = {
                let inner = self.lock();
                let rest = inner.objects.get(&kind).map(|all| all.range((from.clone(), Bound::Unbounded)));
                let rest = rest.into_iter().flatten();
                let here = rest.take_while(|((ns, _), _)| namespace.is_none_or(|want| want == ns));
                here.take(PIECE).map(|(key, packed)| (key.clone(), packed.clone())).collect()
            };
            let whole = piece.len() == PIECE;
            for (key, packed) in piece {
                if page.len() == limit {
                    return (page, self.behind(kind, namespace, from));
                }
                let value = packed.value();
                if fits(&value) {
                    page.push(value);
                }
                from = Bound::Excluded(key);
            }
            if !whole {
                return (page, 0);
            }
        }
    }

    fn behind(&self, kind: Kind, namespace: Option<&str>, from: Bound<Key>) -> usize {
        let inner = self.lock();
        let rest = inner.objects.get(&kind).map(|all| all.range((from, Bound::Unbounded)));
        let rest = rest.into_iter().flatten();
        rest.take_while(|((ns, _), _)| namespace.is_none_or(|want| want == ns)).count()
    }

    fn packed(&self, kind: Kind, namespace: Option<&str>) -> Vec<Arc<Packed>> {
        let inner = self.lock();
        let all = inner.objects.get(&kind).into_iter().flatten();
        all.filter(|((ns, _), _)| namespace.is_none_or(|want| want == ns)).map(|(_, object)| object.clone()).collect()
    }

    /// The pods that are bound to a node.
    pub fn pods_of(&self, node: &str) -> Vec<Arc<Value>> {
        let packed: Vec<Arc<Packed>> = {
            let inner = self.lock();
            let pods = inner.objects.get(&Kind::Pod);
            let keys = inner.pods_of.get(node).into_iter().flatten();
            keys.filter_map(|key| pods?.get(key).cloned()).collect()
        };
        packed.iter().map(|packed| packed.value()).collect()
    }

    /// Creates an object; fills in `metadata.uid`, `creationTimestamp` and `resourceVersion`.
    ///
    /// # Errors
    /// When it has no name, or there is one of that name.
    pub fn create(&self, kind: Kind, object: Value) -> Result<Arc<Value>, Problem> {
        let key = key_of(kind, &object)?;
        let mut inner = self.lock();
        if inner.objects.get(&kind).is_some_and(|all| all.contains_key(&key)) {
            return Err(Problem::AlreadyExists(title(kind, &key.1)));
        }
        Ok(self.put(&mut inner, kind, key, object, "ADDED"))
    }

    /// Replaces an object. A `metadata.resourceVersion` in it must be the present one.
    ///
    /// # Errors
    /// When it is not there, or has changed since it was read.
    pub fn replace(&self, kind: Kind, object: Value) -> Result<Arc<Value>, Problem> {
        let key = key_of(kind, &object)?;
        let mut inner = self.lock();
        let old = present(&inner, kind, &key)?;
        let wanted = object["metadata"]["resourceVersion"].as_str().filter(|v| !v.is_empty());
        if wanted.is_some_and(|v| old["metadata"]["resourceVersion"] != v) {
            return Err(Problem::Conflict(title(kind, &key.1)));
        }
        Ok(self.put(&mut inner, kind, key, object, "MODIFIED"))
    }

    /// Merges a patch into an object (RFC 7386).
    ///
    /// # Errors
    /// When it is not there, or the patch states another resource version than the present one.
    pub fn merge(&self, kind: Kind, namespace: &str, name: &str, patch: &Value) -> Result<Arc<Value>, Problem> {
        let mut inner = self.lock();
        let key = (namespace.to_owned(), name.to_owned());
        let old = present(&inner, kind, &key)?;
        let wanted = patch["metadata"]["resourceVersion"].as_str();
        if wanted.is_some_and(|v| old["metadata"]["resourceVersion"] != v) {
            return Err(Problem::Conflict(title(kind, name)));
        }
        let mut object = (*old).clone();
        merge(&mut object, patch);
        // A patch cannot rename.
        object["metadata"]["name"] = json!(name);
        if kind.namespaced() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        Ok(self.put(&mut inner, kind, key, object, "MODIFIED"))
    }

    /// Changes an object in place; returns whether it was there.
    pub fn mutate(&self, kind: Kind, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> bool {
        let mut inner = self.lock();
        let key = (namespace.to_owned(), name.to_owned());
        let Ok(old) = present(&inner, kind, &key) else { return false };
        let mut object = (*old).clone();
        change(&mut object);
        self.put(&mut inner, kind, key, object, "MODIFIED");
        true
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When it is not there.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Result<Arc<Value>, Problem> {
        let mut inner = self.lock();
        let key = (namespace.to_owned(), name.to_owned());
        let old = present(&inner, kind, &key)?;
        if let Some(all) = inner.objects.get_mut(&kind) {
            all.remove(&key);
        }
        unindex(&mut inner, kind, &old, &key);
        inner.version += 1;
        let mut object = (*old).clone();
        object["metadata"]["resourceVersion"] = json!(inner.version.to_string());
        self.remember(&mut inner, kind, "DELETED", Packed::new(&object));
        Ok(Arc::new(object))
    }

    /// The changes of a kind after `version`, oldest first, and the newest version of all.
    ///
    /// # Errors
    /// When the history does not reach back that far.
    pub fn since(&self, kind: Kind, version: u64) -> Result<(Vec<Change>, u64), Problem> {
        let inner = self.lock();
        let Some(history) = inner.history.get(&kind) else { return Ok((Vec::new(), inner.version)) };
        if version < history.forgotten {
            return Err(Problem::Expired(version));
        }
        let from = history.changes.partition_point(|c| c.version <= version);
        let told = |c: &Past| Change { version: c.version, kind, what: c.what, object: c.object.value() };
        Ok((history.changes.range(from..).map(told).collect(), inner.version))
    }

    fn put(&self, inner: &mut Inner, kind: Kind, key: Key, mut object: Value, what: &'static str) -> Arc<Value> {
        inner.version += 1;
        let (_, version, _, name) = kind.api();
        object["apiVersion"] = json!(version);
        object["kind"] = json!(name);
        let old = inner.objects.get(&kind).and_then(|all| all.get(&key)).map(|packed| packed.value());
        let meta = &mut object["metadata"];
        meta["resourceVersion"] = json!(inner.version.to_string());
        let kept = |field: &str| old.as_ref().map(|o| o["metadata"][field].clone()).filter(|v| !v.is_null());
        if let Some(uid) = kept("uid") {
            meta["uid"] = uid;
        } else if meta["uid"].is_null() {
            meta["uid"] = json!(crate::sim::model::uuid(&[name, &key.0, &key.1, &inner.version.to_string()]));
        }
        if let Some(born) = kept("creationTimestamp") {
            meta["creationTimestamp"] = born;
        } else if meta["creationTimestamp"].is_null() {
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            meta["creationTimestamp"] = json!(now);
        }
        if let Some(old) = &old {
            unindex(inner, kind, old, &key);
        }
        if let (Kind::Pod, Some(node)) = (kind, object["spec"]["nodeName"].as_str()) {
            inner.pods_of.entry(node.to_owned()).or_default().insert(key.clone());
        }
        let packed = Packed::new(&object);
        inner.objects.entry(kind).or_default().insert(key, packed.clone());
        self.remember(inner, kind, what, packed);
        Arc::new(object)
    }

    fn remember(&self, inner: &mut Inner, kind: Kind, what: &'static str, object: Arc<Packed>) {
        let version = inner.version;
        let history = inner.history.entry(kind).or_default();
        history.changes.push_back(Past { version, what, object });
        if history.changes.len() > HISTORY {
            history.forgotten = history.changes.pop_front().map_or(0, |c| c.version);
        }
        self.changed.send_replace(inner.version);
    }
}

fn unindex(inner: &mut Inner, kind: Kind, old: &Value, key: &Key) {
    if let (Kind::Pod, Some(node)) = (kind, old["spec"]["nodeName"].as_str())
        && let Some(keys) = inner.pods_of.get_mut(node)
    {
        keys.remove(key);
    }
}

fn present(inner: &Inner, kind: Kind, key: &Key) -> Result<Arc<Value>, Problem> {
    let found = inner.objects.get(&kind).and_then(|all| all.get(key)).map(|packed| packed.value());
    found.ok_or_else(|| Problem::NotFound(title(kind, &key.1)))
}

fn title(kind: Kind, name: &str) -> String {
    format!("{} \"{name}\"", kind.api().2)
}

fn key_of(kind: Kind, object: &Value) -> Result<Key, Problem> {
    let meta = &object["metadata"];
    let name = meta["name"].as_str().filter(|n| !n.is_empty());
    let name = name.ok_or_else(|| Problem::Invalid("metadata.name: Required value: name is required".into()))?;
    let namespace = if kind.namespaced() { meta["namespace"].as_str().unwrap_or("default") } else { "" };
    Ok((namespace.to_owned(), name.to_owned()))
}

fn merge(into: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    if let Some(into) = into.as_object_mut() {
        for (key, value) in patch {
            if value.is_null() {
                into.remove(key);
            } else {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "kube-system"}, "spec": {"holderIdentity": "a"}})
    }

    #[test]
    fn a_stale_write_conflicts_and_a_second_create_is_refused() {
        let store = Store::new();
        let first = store.create(Kind::Lease, lease("l")).unwrap();
        assert!(matches!(store.create(Kind::Lease, lease("l")), Err(Problem::AlreadyExists(_))));
        let second = store.replace(Kind::Lease, (*first).clone()).unwrap();
        assert!(matches!(store.replace(Kind::Lease, (*first).clone()), Err(Problem::Conflict(_))));
        assert_eq!(first["metadata"]["uid"], second["metadata"]["uid"]);
        store.delete(Kind::Lease, "kube-system", "l").unwrap();
        assert!(matches!(store.replace(Kind::Lease, (*second).clone()), Err(Problem::NotFound(_))));
    }

    #[test]
    fn a_watch_sees_what_changed_after_its_version_or_hears_that_it_is_too_old() {
        let store = Store::new();
        store.create(Kind::Lease, lease("a")).unwrap();
        let from = store.version();
        store.create(Kind::Lease, lease("b")).unwrap();
        store.mutate(Kind::Lease, "kube-system", "b", |l| l["spec"]["holderIdentity"] = json!("b"));
        let (changes, newest) = store.since(Kind::Lease, from).unwrap();
        assert_eq!(changes.iter().map(|c| c.what).collect::<Vec<_>>(), ["ADDED", "MODIFIED"]);
        assert_eq!(newest, changes[1].version);
        for _ in 0..=HISTORY {
            store.mutate(Kind::Lease, "kube-system", "b", |_| ());
        }
        assert!(matches!(store.since(Kind::Lease, from), Err(Problem::Expired(_))));
    }

    #[test]
    fn pages_hold_every_object_once_and_say_how_many_are_left() {
        let store = Store::new();
        for n in 0..1_203 {
            let (namespace, name) = (if n % 3 == 0 { "a" } else { "b" }, format!("e{n:04}"));
            store.create(Kind::Event, json!({"metadata": {"name": name, "namespace": namespace}, "n": n})).unwrap();
        }
        let place = |o: &Value| ["namespace", "name"].map(|f| o["metadata"][f].as_str().unwrap().to_owned());
        for (namespace, all) in [(None, 1_203), (Some("a"), 401), (Some("c"), 0)] {
            let (mut after, mut seen) = (None, Vec::new());
            loop {
                let (page, left) = store.page(Kind::Event, namespace, after, 200, |_| true);
                seen.extend(page.iter().map(|o| place(o)));
                assert_eq!(left, all - seen.len());
                let Some(last) = page.last().filter(|_| left > 0) else { break };
                let [ns, name] = place(last);
                after = Some((ns, name));
            }
            let mut once = seen.clone();
            once.sort();
            once.dedup();
            assert_eq!((seen.len(), once), (all, seen));
        }
        assert_eq!(store.page(Kind::Event, None, None, usize::MAX, |o| o["n"] == 7).0.len(), 1);
    }

    #[test]
    fn a_busy_kind_does_not_push_another_ones_changes_out() {
        let store = Store::new();
        store.create(Kind::Lease, lease("a")).unwrap();
        let from = store.version();
        store.create(Kind::Lease, lease("b")).unwrap();
        for n in 0..=HISTORY {
            let event = json!({"metadata": {"name": format!("e{n}"), "namespace": "a"}});
            store.create(Kind::Event, event).unwrap();
        }
        assert_eq!(store.since(Kind::Lease, from).unwrap().0.len(), 1);
        assert!(matches!(store.since(Kind::Event, from), Err(Problem::Expired(_))));
    }

    #[test]
    fn pods_are_found_by_their_node_until_they_are_gone() {
        let store = Store::new();
        let pod = json!({"metadata": {"name": "p", "namespace": "a"}, "spec": {"nodeName": "n"}});
        store.create(Kind::Pod, pod).unwrap();
        assert_eq!(store.pods_of("n").len(), 1);
        store.mutate(Kind::Pod, "a", "p", |p| p["spec"]["nodeName"] = json!("m"));
        assert_eq!((store.pods_of("n").len(), store.pods_of("m").len()), (0, 1));
        store.delete(Kind::Pod, "a", "p").unwrap();
        assert_eq!(store.pods_of("m").len(), 0);
    }
}
