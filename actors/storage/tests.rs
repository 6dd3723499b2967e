use std::fs;

use futures_util::stream;
use proptest::prelude::*;

use super::*;

const A_MINUTE_MS: i64 = 60_000;

async fn store(dir: &FilePath) -> TenantStore {
    let settings = StorageSettings { dir: dir.to_owned() };
    Storage::open(&settings).await.unwrap().tenant(TenantId::from_bits(7))
}

async fn text(store: &TenantStore, key: &str, range: Option<ByteRange>) -> String {
    let opened = store.get(key, range).await.unwrap();
    let chunks: Vec<Bytes> = opened.stream.try_collect().await.unwrap();
    String::from_utf8(chunks.concat()).unwrap()
}

fn all_files(dir: &FilePath) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(all_files(&path));
        } else {
            files.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    files
}

#[tokio::test]
async fn what_is_put_is_got_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;

    let stored = store.put("jobs/a/video.mp4", Bytes::from_static(b"moving")).await.unwrap();

    assert_eq!(stored.key, "jobs/a/video.mp4");
    assert_eq!(stored.size_bytes, 6);
    assert!(stored.modified_at.as_micros() > A_MINUTE_MS);
    assert_eq!(text(&store, "jobs/a/video.mp4", None).await, "moving");
    assert_eq!(store.read("jobs/a/video.mp4", 6).await.unwrap(), "moving");
    assert!(matches!(
        store.read("jobs/a/video.mp4", 5).await,
        Err(StorageError::TooLarge { limit_bytes: 5 })
    ));
}

#[tokio::test]
async fn ranges_are_those_of_http() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    store.put("x", Bytes::from_static(b"0123456789")).await.unwrap();

    assert_eq!(text(&store, "x", Some(ByteRange::Inclusive(2, 4))).await, "234");
    assert_eq!(text(&store, "x", Some(ByteRange::Inclusive(8, 99))).await, "89");
    assert_eq!(text(&store, "x", Some(ByteRange::From(7))).await, "789");
    assert_eq!(text(&store, "x", Some(ByteRange::Last(3))).await, "789");
    assert_eq!(text(&store, "x", Some(ByteRange::Last(30))).await, "0123456789");
    for refused in [
        ByteRange::Inclusive(10, 11),
        ByteRange::Inclusive(4, 2),
        ByteRange::From(10),
        ByteRange::Last(0),
    ] {
        assert!(matches!(
            store.get("x", Some(refused)).await,
            Err(StorageError::InvalidRange { size_bytes: 10 })
        ));
    }
}

#[tokio::test]
async fn large_files_stream_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let chunk = Bytes::from(vec![b'x'; 1_000_003]);
    let chunks = stream::iter((0..20).map(|_| Ok(chunk.clone())));

    let stored = store.put_stream("large", chunks).await.unwrap();

    assert_eq!(stored.size_bytes, 20 * 1_000_003);
    assert_eq!(text(&store, "large", None).await.len(), 20 * 1_000_003);
    let middle = Some(ByteRange::Inclusive(9_999_990, 10_000_009));
    assert_eq!(text(&store, "large", middle).await, "x".repeat(20));
    assert_eq!(store.size_bytes("").await.unwrap(), stored.size_bytes);
}

#[tokio::test]
async fn the_tag_changes_with_the_content() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;

    let first = store.put("x", Bytes::from_static(b"one")).await.unwrap();
    let second = store.put("x", Bytes::from_static(b"other")).await.unwrap();

    assert_ne!(first.etag, second.etag);
    assert!(!first.etag.is_empty() && !first.etag.contains('"'));
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StorageSettings { dir: dir.path().to_owned() };
    let storage = Storage::open(&settings).await.unwrap();
    let (one, other) =
        (storage.tenant(TenantId::from_bits(1)), storage.tenant(TenantId::from_bits(2)));
    one.put("secret", Bytes::from_static(b"mine")).await.unwrap();

    assert!(matches!(other.head("secret").await, Err(StorageError::NotFound)));
    let listed: Vec<Stored> = other.list("").unwrap().try_collect().await.unwrap();
    assert_eq!(listed, []);
    let escape = format!("../{}/secret", TenantId::from_bits(1));
    assert!(matches!(other.get(&escape, None).await, Err(StorageError::InvalidKey)));
}

#[tokio::test]
async fn a_broken_upload_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let chunks = stream::iter([
        Ok(Bytes::from(vec![1; 9_000_000])),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ]);

    let failed = store.put_stream("broken", chunks).await;

    assert!(matches!(failed, Err(StorageError::Source(_))));
    assert!(matches!(store.head("broken").await, Err(StorageError::NotFound)));
    assert_eq!(all_files(dir.path()), [""; 0]);
}

#[tokio::test]
async fn an_upload_that_a_crash_cut_off_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path()).await.put("kept", Bytes::from_static(b"x")).await.unwrap();
    let folder = dir.path().join("tenants").join(TenantId::from_bits(7).to_string());
    fs::write(folder.join("video.mp4#1"), b"half").unwrap();

    let _reopened = store(dir.path()).await;

    assert_eq!(all_files(dir.path()), ["kept"]);
}

#[tokio::test]
async fn deleting_is_idempotent_and_tells_what_it_freed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    store.put("jobs/a/1", Bytes::from_static(b"123")).await.unwrap();
    store.put("jobs/a/b/2", Bytes::from_static(b"4567")).await.unwrap();
    store.put("jobs/ab/3", Bytes::from_static(b"89")).await.unwrap();

    assert_eq!(store.delete_below("jobs/a").await.unwrap(), 7);
    assert_eq!(store.delete_below("jobs/a").await.unwrap(), 0);
    store.delete("jobs/a/1").await.unwrap();

    assert_eq!(store.size_bytes("").await.unwrap(), 2);
}

#[tokio::test]
async fn a_finished_file_is_moved_in_and_linked_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let (made, copy) = (dir.path().join("made.mp4"), dir.path().join("copy.mp4"));
    fs::write(&made, b"video").unwrap();

    let stored = store.put_file(&made, "jobs/a/video.mp4").await.unwrap();
    store.fetch("jobs/a/video.mp4", &copy).await.unwrap();

    assert_eq!(stored.size_bytes, 5);
    assert!(!made.exists());
    assert_eq!(fs::read(&copy).unwrap(), b"video");
    assert!(matches!(
        store.fetch("jobs/a/none.mp4", &dir.path().join("none")).await,
        Err(StorageError::NotFound)
    ));
}

/// A disk of 1 MiB that is really mounted.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts the disk; `None` where the machine forbids it.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(Self { dir })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted =
            std::process::Command::new("umount").arg("-l").arg(self.dir.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the small disk is unmounted");
    }
}

/// Runs one test again in a process whose files may not pass 1 MiB: the kernel reports that
/// through the same calls as a full disk, and the other tests keep their room.
fn run_again_with_small_files(test: &str) {
    let again = std::process::Command::new("env")
        .args(["--ignore-signal=XFSZ", "prlimit", "--fsize=1048576"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .status()
        .unwrap();
    assert!(again.success(), "the test passes with small files");
}

fn is_limited() -> bool {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    getrlimit(Resource::RLIMIT_FSIZE).unwrap().0 != RLIM_INFINITY
}

async fn fill(dir: &FilePath) {
    let store = store(dir).await;
    store.put("small", Bytes::from(vec![1; 100_000])).await.unwrap();

    let chunks = stream::iter((0..40).map(|_| Ok(Bytes::from(vec![2; 100_000]))));
    let streamed = store.put_stream("large", chunks).await;
    let at_once = store.put("large", Bytes::from(vec![3; 12_000_000])).await;

    assert!(matches!(streamed, Err(StorageError::Full)), "{streamed:?}");
    assert!(matches!(at_once, Err(StorageError::Full)), "{at_once:?}");
    assert_eq!(all_files(dir), ["small"]);
    assert_eq!(store.storage.breaker().state(), tenantry_supervision::BreakerState::Closed);
    store.put("fits", Bytes::from(vec![4; 400_000])).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_nothing_half_written_stays() {
    if is_limited() {
        return fill(tempfile::tempdir().unwrap().path()).await;
    }
    match SmallDisk::mount() {
        Some(disk) => fill(disk.dir.path()).await,
        None => run_again_with_small_files(
            "storage::tests::a_full_disk_is_told_apart_and_nothing_half_written_stays",
        ),
    }
}

#[tokio::test]
async fn a_file_too_large_for_the_disk_stays_where_it_was() {
    // Where nothing can be mounted there is one file system, and a move cannot run out of it.
    let disk = SmallDisk::mount();
    let dir = tempfile::tempdir().unwrap();
    let store = store(disk.as_ref().map_or(dir.path(), |disk| disk.dir.path())).await;
    let made = tempfile::NamedTempFile::new().unwrap();
    fs::write(made.path(), vec![5; 3_000_000]).unwrap();

    let moved = store.put_file(made.path(), "video.mp4").await;

    match disk {
        Some(disk) => {
            assert!(matches!(moved, Err(StorageError::Full)), "{moved:?}");
            assert!(made.path().exists());
            assert_eq!(all_files(disk.dir.path()), [""; 0]);
        }
        None => assert_eq!(moved.unwrap().size_bytes, 3_000_000),
    }
}

#[test]
fn content_types_go_by_the_ending() {
    assert_eq!(content_type("jobs/x/video.mp4"), "video/mp4");
    assert_eq!(content_type("a.b.png"), "image/png");
    assert_eq!(content_type("noending"), "application/octet-stream");
}

proptest! {
    #[test]
    fn no_key_leaves_its_folder(key in "[a-z./%2e\\\\#~\u{0}-]{0,30}") {
        if is_valid_key(&key) {
            let path = FilePath::new(&key);
            let is_plain = |c| matches!(c, std::path::Component::Normal(_));
            prop_assert!(path.components().all(is_plain));
            prop_assert!(!key.contains(['%', '\\', '#', '~', '\0']));
            prop_assert!(!key.split('/').any(str::is_empty));
        }
    }
}
