//! A sandbox that is taken down when it goes out of scope, for tests and the demo.

use super::{Sandbox, SandboxError, SandboxName, SandboxSpec};
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Takes the sandbox down when dropped, also when a test panics.
#[derive(Debug)]
pub struct SandboxGuard(Sandbox);

impl SandboxGuard {
    /// [`Sandbox::up_bare`], guarded.
    pub async fn up_bare(spec: &SandboxSpec) -> Result<Self, SandboxError> {
        Sandbox::up_bare(spec).await.map(Self)
    }

    /// [`Sandbox::up`], guarded.
    pub async fn up(spec: &SandboxSpec, flocker: &Path) -> Result<Self, SandboxError> {
        Sandbox::up(spec, flocker).await.map(Self)
    }

    pub(super) fn sandbox_mut(&mut self) -> &mut Sandbox {
        &mut self.0
    }

    /// Leaves the sandbox up for good.
    pub fn keep(self) -> Sandbox {
        let sandbox = self.0.clone();
        std::mem::forget(self);
        sandbox
    }

    /// A name that no other test uses: of this process and this call.
    pub fn fresh_name() -> SandboxName {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{number}", std::process::id());
        name.parse().expect("digits, a letter and a dash, short")
    }
}

impl Deref for SandboxGuard {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.0
    }
}

impl Drop for SandboxGuard {
    fn drop(&mut self) {
        let name = self.0.record.name.clone();
        // A thread of its own, because a runtime cannot be started inside another one.
        let down = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => {
                    if let Err(error) = runtime.block_on(Sandbox::down(&name)) {
                        tracing::error!(%error, sandbox = %name, "could not take it down");
                    }
                }
                Err(error) => tracing::error!(%error, "could not take the sandbox down"),
            }
        });
        let _panicked = down.join();
    }
}
