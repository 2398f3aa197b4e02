//! The control plane that all tests of one test program share.

use tokio::sync::OnceCell;

use crate::{
    control_plane::{ControlPlane, Options, StartError},
    report,
};

static SHARED: OnceCell<Result<ControlPlane, StartError>> = OnceCell::const_new();

/// The control plane of this process, with everything a test may need (controller manager and audit log); the first
/// caller starts it. It ends with the process. Tests keep apart by [`namespace`](ControlPlane::namespace).
///
/// It depends on no runtime: the one of the test that started it may end.
///
/// # Panics
///
/// If it cannot be started; then at once for every later caller, too.
#[expect(
    clippy::panic,
    reason = "a test without its control plane can only fail, and should say why"
)]
pub async fn shared() -> &'static ControlPlane {
    let started = SHARED
        .get_or_init(|| {
            ControlPlane::start(Options {
                audit_log: true,
                ..Options::default()
            })
        })
        .await;
    match started {
        Ok(control_plane) => control_plane,
        Err(error) => panic!("{}", report(error)),
    }
}
