//! A hand-made TUF repository whose every byte a test can bend, and a transport that serves it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use countersign_crypto::{KeyPair, KeyType, Signer, encoding, sha256};
use countersign_trust::tuf::json::{Json, Object};
use countersign_trust::tuf::metadata::Key;
use countersign_trust::tuf::{Transport, TransportError, Updater};
use jiff::Timestamp;

/// The address under which the files are served.
pub(crate) const BASE: &str = "https://tuf.example/repo";

type Stored = (BTreeMap<String, Vec<u8>>, Vec<String>);

/// Files by path under [`BASE`], and a count of what was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files(Arc<Mutex<Stored>>);

impl Files {
    pub(crate) fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.0.lock().unwrap().0.insert(path.to_owned(), bytes.into());
    }

    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().unwrap().0.remove(path);
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        self.0.lock().unwrap().0[path].clone()
    }

    /// Everything that was asked for since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().1)
    }

    /// Serves what lies in a directory.
    pub(crate) fn load(&self, dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_file() {
                self.put(&name, std::fs::read(entry.path()).unwrap());
            }
        }
        for entry in std::fs::read_dir(dir.join("targets")).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() {
                continue;
            }
            self.put(&format!("targets/{name}"), std::fs::read(entry.path()).unwrap());
        }
    }
}

impl Transport for Files {
    async fn get(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>, TransportError> {
        let path = url.strip_prefix(BASE).and_then(|p| p.strip_prefix('/')).unwrap();
        let mut inner = self.0.lock().unwrap();
        inner.1.push(path.to_owned());
        match inner.0.get(path) {
            Some(bytes) if bytes.len() as u64 > limit => Err(TransportError::TooLarge),
            other => Ok(other.cloned()),
        }
    }
}

/// A transport without a network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoNetwork;

impl Transport for NoNetwork {
    async fn get(&self, _: &str, _: u64) -> Result<Option<Vec<u8>>, TransportError> {
        Err(TransportError::Failed("no network".into()))
    }
}

/// A key with its id.
#[derive(Debug, Clone)]
pub(crate) struct TestKey {
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) id: String,
    pub(crate) json: Json,
}

pub(crate) fn key() -> TestKey {
    key_of(KeyType::EcdsaP256)
}

pub(crate) fn key_of(key_type: KeyType) -> TestKey {
    let signer: Arc<dyn Signer> = Arc::new(KeyPair::generate(key_type).unwrap());
    let key = Key::new(signer.public_key()).unwrap();
    TestKey { id: key.id(), json: key.json().clone(), signer }
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    at("2026-06-01T00:00:00Z")
}

pub(crate) fn obj<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::from(members)
}

pub(crate) fn int(number: i64) -> Json {
    Json::Integer(number)
}

/// Walks into objects.
pub(crate) fn member<'a>(json: &'a mut Json, path: &[&str]) -> &'a mut Json {
    path.iter().fold(json, |json, name| match json {
        Json::Object(members) => members.get_mut(*name).unwrap(),
        _ => panic!("no object at {name}"),
    })
}

pub(crate) fn object(json: &mut Json) -> &mut Object {
    match json {
        Json::Object(members) => members,
        _ => panic!("no object"),
    }
}

/// Signs `signed` with the keys, under their ids.
pub(crate) fn sign(signed: &Json, keys: &[&TestKey]) -> Vec<u8> {
    let message = signed.canonical();
    let signatures = keys.iter().map(|key| signature(&key.id, &key.signer.sign(&message).unwrap())).collect();
    assemble(signed, signatures)
}

pub(crate) fn signature(id: &str, bytes: &[u8]) -> Json {
    obj([("keyid", id.into()), ("sig", encoding::hex_encode(bytes).into())])
}

pub(crate) fn assemble(signed: &Json, signatures: Vec<Json>) -> Vec<u8> {
    obj([("signatures", Json::Array(signatures)), ("signed", signed.clone())]).pretty()
}

pub(crate) fn role(keys: &[&TestKey], threshold: i64) -> Json {
    let ids = keys.iter().map(|k| Json::from(k.id.as_str())).collect();
    obj([("keyids", Json::Array(ids)), ("threshold", int(threshold))])
}

pub(crate) fn keys(keys: &[&TestKey]) -> Json {
    Json::Object(keys.iter().map(|k| (k.id.clone(), k.json.clone())).collect())
}

fn common(kind: &str, version: i64) -> Json {
    obj([
        ("_type", kind.into()),
        ("spec_version", "1.0.31".into()),
        ("version", int(version)),
        ("expires", "2027-01-01T00:00:00Z".into()),
    ])
}

/// Metadata `signed` objects, good as they come.
pub(crate) fn root(version: i64, root_keys: &[&TestKey], threshold: i64, online: &TestKey) -> Json {
    let mut all: Vec<&TestKey> = root_keys.to_vec();
    all.push(online);
    let mut json = common("root", version);
    object(&mut json).extend([
        ("consistent_snapshot".to_owned(), Json::Bool(true)),
        ("keys".to_owned(), keys(&all)),
        (
            "roles".to_owned(),
            obj([
                ("root", role(root_keys, threshold)),
                ("targets", role(&[online], 1)),
                ("snapshot", role(&[online], 1)),
                ("timestamp", role(&[online], 1)),
            ]),
        ),
    ]);
    json
}

pub(crate) fn timestamp(version: i64, snapshot: i64) -> Json {
    let mut json = common("timestamp", version);
    object(&mut json).insert("meta".into(), obj([("snapshot.json", obj([("version", int(snapshot))]))]));
    json
}

pub(crate) fn snapshot(version: i64, files: &[(&str, i64)]) -> Json {
    let mut json = common("snapshot", version);
    let meta = files.iter().map(|(f, v)| ((*f).to_owned(), obj([("version", int(*v))]))).collect();
    object(&mut json).insert("meta".into(), Json::Object(meta));
    json
}

pub(crate) fn targets(version: i64, files: &[(&str, &[u8])]) -> Json {
    let mut json = common("targets", version);
    let listed = files.iter().map(|(name, content)| ((*name).to_owned(), target(content))).collect();
    object(&mut json).insert("targets".into(), Json::Object(listed));
    json
}

pub(crate) fn target(content: &[u8]) -> Json {
    obj([
        ("length", int(i64::try_from(content.len()).unwrap())),
        ("hashes", obj([("sha256", encoding::hex_encode(&sha256(content)).into())])),
    ])
}

pub(crate) fn delegation(
    name: &str,
    by: &[&TestKey],
    threshold: i64,
    paths: &[&str],
    terminating: bool,
) -> Json {
    let mut json = role(by, threshold);
    let paths = paths.iter().map(|p| Json::from(*p)).collect();
    object(&mut json).extend([
        ("name".to_owned(), name.into()),
        ("paths".to_owned(), Json::Array(paths)),
        ("terminating".to_owned(), Json::Bool(terminating)),
    ]);
    json
}

pub(crate) fn delegate(targets: &mut Json, by: &[&TestKey], roles: Vec<Json>) {
    let delegations = obj([("keys", keys(by)), ("roles", Json::Array(roles))]);
    object(targets).insert("delegations".into(), delegations);
}

/// A repository with one root key and one online key, version 1 of everything and one target.
pub(crate) struct World {
    pub(crate) files: Files,
    pub(crate) root_key: TestKey,
    pub(crate) online: TestKey,
    pub(crate) initial_root: Vec<u8>,
    pub(crate) cache: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let (root_key, online) = (key(), key());
        let initial_root = sign(&root(1, &[&root_key], 1, &online), &[&root_key]);
        let world = Self {
            files: Files::default(),
            root_key,
            online,
            initial_root,
            cache: tempfile::tempdir().unwrap(),
        };
        world.targets(1, &targets(1, &[("file.txt", b"content")]));
        world.target("file.txt", b"content");
        world.snapshot(1, &[("targets.json", 1)]);
        world.timestamp(1, 1);
        world
    }

    pub(crate) fn root(&self, version: i64, json: &Json, by: &[&TestKey]) {
        self.files.put(&format!("{version}.root.json"), sign(json, by));
    }

    pub(crate) fn timestamp(&self, version: i64, of: i64) {
        self.files.put("timestamp.json", sign(&timestamp(version, of), &[&self.online]));
    }

    pub(crate) fn snapshot(&self, version: i64, files: &[(&str, i64)]) {
        self.files.put(&format!("{version}.snapshot.json"), sign(&snapshot(version, files), &[&self.online]));
    }

    pub(crate) fn targets(&self, version: i64, json: &Json) {
        self.files.put(&format!("{version}.targets.json"), sign(json, &[&self.online]));
    }

    pub(crate) fn target(&self, name: &str, content: &[u8]) {
        let hash = encoding::hex_encode(&sha256(content));
        let path = match name.rsplit_once('/') {
            Some((dir, base)) => format!("targets/{dir}/{hash}.{base}"),
            None => format!("targets/{hash}.{name}"),
        };
        self.files.put(&path, content);
    }

    /// Publishes delegated roles next to the top-level targets, all at version 1.
    pub(crate) fn delegated(&self, top: &Json, roles: &[(&str, &Json, &TestKey)]) {
        self.targets(2, top);
        let mut meta: Vec<(String, i64)> = vec![("targets.json".into(), 2)];
        for (name, json, by) in roles {
            let Json::Object(members) = json else { panic!() };
            let Json::Integer(version) = members["version"] else { panic!() };
            meta.push((format!("{name}.json"), version));
            self.files.put(&format!("{version}.{name}.json"), sign(json, &[by]));
        }
        let meta: Vec<(&str, i64)> = meta.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        self.snapshot(2, &meta);
        self.timestamp(2, 2);
    }

    /// A client with this world's cache; a new one each time, as after a restart.
    pub(crate) fn client(&self) -> Updater<Files> {
        Updater::new(self.files.clone(), BASE, self.cache.path(), self.initial_root.clone()).unwrap()
    }

    /// Every file of the cache by relative path.
    pub(crate) fn cached(&self) -> BTreeMap<String, Vec<u8>> {
        fn walk(dir: &Path, base: &Path, out: &mut BTreeMap<String, Vec<u8>>) {
            for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
                if entry.path().is_dir() {
                    walk(&entry.path(), base, out);
                } else {
                    let name = entry.path().strip_prefix(base).unwrap().display().to_string();
                    out.insert(name, std::fs::read(entry.path()).unwrap());
                }
            }
        }
        let mut out = BTreeMap::new();
        walk(self.cache.path(), self.cache.path(), &mut out);
        out
    }
}
