//! The engine that a test's code runs on, and a test for each.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Node.js in containers.
    Docker,
    /// QuickJS in locked-down processes, on a machine without Docker.
    Isolate,
}

pub const NO_DOCKER: (&str, &str) = ("DOCKER_HOST", "unix:///nonexistent/docker.sock");

impl On {
    /// What makes a server offer this engine and no other.
    pub const fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            On::Docker => &[
                ("MCP_EXECUTION_ENGINE", "docker"),
                ("MCP_DEFAULT_RUNTIME", "node"),
            ],
            On::Isolate => &[
                ("MCP_EXECUTION_ENGINE", "isolate"),
                ("MCP_DEFAULT_RUNTIME", "isolate"),
                NO_DOCKER,
            ],
        }
    }
}

/// Makes a test on each engine of every function that is named: `docker::name` and `isolate::name`. So
/// `not test(/\bdocker::/)` is what needs no Docker.
#[macro_export]
macro_rules! on_every_engine {
    ($($name:ident),+ $(,)?) => {
        mod docker {
            $(
                #[tokio::test]
                async fn $name() -> anyhow::Result<()> {
                    super::$name($crate::on::On::Docker).await
                }
            )+
        }

        mod isolate {
            $(
                #[tokio::test]
                async fn $name() -> anyhow::Result<()> {
                    super::$name($crate::on::On::Isolate).await
                }
            )+
        }
    };
}
