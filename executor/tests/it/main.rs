//! The contract of an engine: one suite, run over every engine there is. Each of its tests is written once, as a function
//! of the engine that it runs on, and is named after it as `docker::…` and `isolate::…`; what only one engine has is in a module of that
//! engine's name. So `not test(/\bdocker::/)` is what needs no Docker.
//!
//! Each test has an executor of its own and leaves nothing behind.

#![expect(
    clippy::unwrap_used,
    reason = "a test says by panicking what went wrong; clippy knows that of test functions only"
)]

/// Makes a test on each engine of every function that is named.
macro_rules! on_every_engine {
    ($($name:ident),+ $(,)?) => {
        mod docker {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(crate::rig::On::Docker).await;
                }
            )+
        }

        mod isolate {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(crate::rig::On::Isolate).await;
                }
            )+
        }
    };
}

mod calls;
mod care;
mod docker;
mod hostile;
mod isolate;
mod process;
mod reuse;
mod rig;
