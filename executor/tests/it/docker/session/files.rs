//! Files in and out of a session, and what is no file.

use dynamic_mcp_proto::v1::{FileKind, FileProblemKind};

use super::rig::{MAX_FILE, SessionRig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_go_in_and_come_out_as_they_are_many_at_a_time() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    let binary: Vec<u8> = (0..MAX_FILE).map(|at| (at * 31 % 251) as u8).collect();
    let written = sandbox
        .write(&[
            ("a/b/binary", &binary),
            ("/workspace/empty", b""),
            ("run.sh", b"echo ran"),
        ])
        .await;
    assert_eq!(written.problems, []);
    let paths: Vec<_> = written.written.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        ["/workspace/a/b/binary", "/workspace/empty", "/workspace/run.sh"]
    );
    assert_eq!(sandbox.sh("sh run.sh").await["stdout"], "ran\n");
    let read = sandbox.read(&["a/b/binary", "nothing", "/workspace/empty"]).await;
    assert_eq!(read[0].as_ref().unwrap(), &binary);
    assert_eq!(read[1].as_ref().unwrap_err().kind(), FileProblemKind::NotFound);
    assert_eq!(read[2].as_ref().unwrap(), b"");

    // A file that is written again is replaced whole, and its reader sees the old one or the new one.
    sandbox.write(&[("run.sh", b"echo again")]).await;
    assert_eq!(
        sandbox.sh("sh run.sh; ls -A").await["stdout"],
        "again\na\nempty\nrun.sh\n"
    );

    let listing = sandbox.list("", true, 100).await;
    let mut listed: Vec<_> = listing
        .entries
        .iter()
        .map(|entry| (entry.path.as_str(), entry.kind()))
        .collect();
    listed.sort_by_key(|(path, _)| *path);
    assert_eq!(
        listed,
        [
            ("/workspace/a", FileKind::Directory),
            ("/workspace/a/b", FileKind::Directory),
            ("/workspace/a/b/binary", FileKind::File),
            ("/workspace/empty", FileKind::File),
            ("/workspace/run.sh", FileKind::File),
        ]
    );
    assert!(!listing.truncated);
    let short = sandbox.list("/workspace", true, 2).await;
    assert_eq!((short.entries.len(), short.truncated), (2, true));
    assert_eq!(
        sandbox.list("nothing", false, 2).await.problem.unwrap().kind(),
        FileProblemKind::NotFound
    );

    // A command may set any time; the file is listed and read all the same.
    assert_eq!(
        sandbox.sh("touch -d @100000000000000000 a/b/binary; true").await["exitCode"],
        0
    );
    let listing = sandbox.list("a/b", false, 10).await;
    assert_eq!(
        (listing.entries.len(), listing.truncated),
        (1, false),
        "{listing:?}"
    );
    assert!(sandbox.read(&["a/b/binary"]).await[0].is_ok());
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_files_and_a_full_workspace_are_told_and_leave_nothing_behind() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    let most = vec![1; MAX_FILE as usize];
    let too_large = vec![1; MAX_FILE as usize + 1];
    let written = sandbox
        .write(&[
            ("one", &most),
            ("large", &too_large),
            ("two", &most),
            ("three", &most),
            ("four", b"x"),
        ])
        .await;
    assert_eq!(written.written.len(), 3);
    let problems: Vec<_> = written
        .problems
        .iter()
        .map(|problem| (problem.path.as_str(), problem.kind()))
        .collect();
    assert_eq!(
        problems,
        [
            ("large", FileProblemKind::TooLarge),
            ("four", FileProblemKind::TooLarge)
        ]
    );
    sandbox
        .sh("head -c 1048577 /dev/zero > grown; head -c 100000000 /dev/zero > full; true")
        .await;
    let read = sandbox.read(&["grown", "one", "two", "three", "run"]).await;
    assert_eq!(read[0].as_ref().unwrap_err().kind(), FileProblemKind::TooLarge);
    assert_eq!(read.iter().filter(|file| file.is_ok()).count(), 3);
    let full = sandbox.write(&[("more", &most)]).await;
    assert_eq!(full.problems[0].kind(), FileProblemKind::NoSpace);
    assert_eq!(
        sandbox.sh("ls -A").await["stdout"],
        "full\ngrown\none\nthree\ntwo\n"
    );
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leads_out_of_the_workspace_and_nothing_special_is_waited_for() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    sandbox
        .sh("ln -s /etc etc; ln -s /etc/passwd passwd; ln -s . self; mkfifo fifo; mkdir folder; ln -s nowhere loose;
            node -e \"require('net').createServer().listen('socket', () => process.kill(process.pid, 'SIGKILL'))\"; true")
        .await;
    for (path, kind) in [
        ("etc/passwd", FileProblemKind::Outside),
        ("passwd", FileProblemKind::Outside),
        ("self/folder", FileProblemKind::Outside),
        ("loose", FileProblemKind::Outside),
        ("../etc/passwd", FileProblemKind::Outside),
        ("/etc/passwd", FileProblemKind::Outside),
        ("/proc/self/environ", FileProblemKind::Outside),
        ("fifo", FileProblemKind::Refused),
        ("socket", FileProblemKind::Refused),
        ("folder", FileProblemKind::WrongKind),
        ("", FileProblemKind::WrongKind),
    ] {
        let read = sandbox.read(&[path]).await;
        assert_eq!(read[0].as_ref().unwrap_err().kind(), kind, "reading {path}");
    }
    for (path, kind) in [
        ("etc/x", FileProblemKind::Outside),
        ("../x", FileProblemKind::Outside),
        ("/tmp/x", FileProblemKind::Outside),
        ("folder", FileProblemKind::WrongKind),
        ("fifo/x", FileProblemKind::WrongKind),
        ("/workspace", FileProblemKind::WrongKind),
    ] {
        let written = sandbox.write(&[(path, b"x")]).await;
        assert_eq!(written.problems[0].kind(), kind, "writing {path}");
    }
    // A link is replaced, and what it led to is not touched.
    assert_eq!(sandbox.write(&[("passwd", b"mine")]).await.problems, []);
    assert_eq!(
        sandbox
            .sh("cat passwd; head -c 4 /etc/passwd; test -L passwd || echo; echo file")
            .await["stdout"],
        "mineroot\nfile\n"
    );
    let listed = sandbox.list("", true, 100).await;
    assert!(
        listed.entries.iter().all(|entry| !entry.path.contains("etc/")),
        "{listed:?}"
    );
    let kinds: Vec<_> = listed
        .entries
        .iter()
        .filter(|entry| entry.kind() == FileKind::Symlink)
        .collect();
    assert_eq!(kinds.len(), 3);
    assert_eq!(
        sandbox.list("etc", true, 100).await.problem.unwrap().kind(),
        FileProblemKind::Outside
    );

    // Somebody swaps the folder for a link and back while files are written and read through it.
    let swap = "node -e \"const fs = require('node:fs'); const end = Date.now() + 3000; fs.mkdirSync('here');
        const attempt = (f, ...args) => { try { f(...args) } catch {} };
        while (Date.now() < end) { attempt(fs.renameSync, 'here', 'there'); attempt(fs.symlinkSync, '/tmp', 'here');
            attempt(fs.unlinkSync, 'here'); attempt(fs.renameSync, 'there', 'here') }\"";
    let swapping = sandbox.sh(swap);
    let using = async {
        for n in 0..100 {
            let path = format!("here/file-{n}");
            sandbox.write(&[(&path, b"x")]).await;
            sandbox.read(&[&path]).await;
        }
    };
    tokio::join!(swapping, using);
    assert_eq!(sandbox.sh("ls -A /tmp").await["stdout"], "");
    rig.finish().await;
}
