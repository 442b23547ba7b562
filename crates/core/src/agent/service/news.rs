//! What is heard of a service's container: from the engine, and how the jobs that concern it ended.

use super::{Container, Doing, Doubt, Heard, RETRY_DELAY_MS, Starting, backoff_ms};
use crate::agent::{Agent, ContainerRunSeen, JobOutcome};
use crate::mutant::{Mutant, planted};
use flocker_types::app::RestartPolicy;
use flocker_types::ids::ServiceId;
use flocker_types::task::{ContainerState, Failure, Prepared, Retry, Want};

/// A container that ran this long has recovered: the next wait is short again, in milliseconds.
const RECOVERED_AFTER_MS: u64 = 10_000;

impl Agent {
    pub(in crate::agent) fn container_ready(&mut self, id: &ServiceId) {
        let Some(service) = self.services.get_mut(id) else {
            return;
        };
        if let Some(starting) = &mut service.starting {
            starting.ready = true;
        }
        if let Some(container) = &mut service.container {
            container.ready = true;
        }
        // The next drive settles it, unless a job is under way whose end does.
    }

    pub(in crate::agent) fn container_unhealthy(&mut self, id: &ServiceId, message: String) {
        let Some(service) = self.services.get_mut(id) else {
            return;
        };
        if let Some(starting) = &mut service.starting {
            starting.ready = false;
        }
        if let Some(container) = &mut service.container {
            container.ready = false;
        }
        if service.runs() {
            self.change_state(id, ContainerState::Unhealthy { message });
        }
    }

    pub(in crate::agent) fn container_exited(&mut self, id: &ServiceId, code: i64) {
        if planted(Mutant::ExitIgnored) {
            return;
        }
        let Some(service) = self.services.get_mut(id) else {
            return;
        };
        let stopping = matches!(service.job, Some((_, Doing::Stop)));
        let starting = matches!(service.job, Some((_, Doing::Run)));
        if let Some(starting) = &mut service.starting {
            starting.ready = false;
        }
        if let Some(container) = &mut service.container {
            container.ready = false;
        }
        if starting && service.heard != Heard::Asking {
            service.heard = Heard::Ended;
            return;
        }
        service.looked_at();
        if service.runs() {
            service.doubt = service.doubt.max(Doubt::SaidEnded);
        }
        if let Some(container) = &mut service.container {
            container.run = ContainerRunSeen::Exited { code: Some(code) };
        }
        if !stopping {
            self.ended(id, code);
        }
    }

    /// A container ended by itself: by its policy it is started again, after a while, or not.
    pub(in crate::agent) fn ended(&mut self, id: &ServiceId, code: i64) {
        let policy = match self.ledger.directives.get(id).map(|d| &d.want) {
            Some(Want::Run { container, .. }) => container.spec.restart,
            // Whoever wanted it to end looks at it when its job is done.
            _ => return,
        };
        let now = self.now.monotonic;
        let Some(service) = self.services.get_mut(id) else {
            return;
        };
        let recovered = service
            .run_began
            .is_some_and(|began| now.since_ms(began) >= RECOVERED_AFTER_MS);
        if recovered {
            service.restarts = 0;
        }
        let again = match policy {
            RestartPolicy::Never => false,
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure { retries_max } => {
                code != 0 && retries_max.is_none_or(|max| service.retries < max)
            }
        };
        service.start_at = again.then(|| now.plus_ms(backoff_ms(service.restarts)));
        service.restarts = service.restarts.saturating_add(1);
        service.retries = service.retries.saturating_add(1);
        self.change_state(
            id,
            ContainerState::Stopped {
                exit_code: Some(code),
                stop_ms: None,
            },
        );
    }

    pub(in crate::agent) fn service_job_done(
        &mut self,
        id: &ServiceId,
        result: Result<JobOutcome, Failure>,
    ) {
        let now = self.now.monotonic;
        let Some(service) = self.services.get_mut(id) else {
            return;
        };
        let doing = service.job.take().map(|(_, doing)| doing);
        let heard = std::mem::replace(&mut service.heard, Heard::Nothing);
        let starting = service.starting.take();
        match result {
            Ok(JobOutcome::Running { prepared, .. }) => self.started(id, prepared, heard, starting),
            Ok(JobOutcome::Stopped { code }) => {
                service.doubt = service.doubt.min(Doubt::MayExist);
                service.stop_ms = service.stop_began.take().map(|began| now.since_ms(began));
                if let Some(container) = &mut service.container {
                    container.run = ContainerRunSeen::Exited { code };
                    container.ready = false;
                }
            }
            Ok(_) if doing == Some(Doing::Remove) => {
                service.container = None;
                service.doubt = Doubt::None;
            }
            Ok(_) => {}
            Err(failure) if heard == Heard::Asking => self.asking_failed(id, failure),
            Err(failure) => self.service_job_failed(id, doing, failure),
        }
    }

    /// It is still not known whether the container runs, and it is asked again: stopping it to be
    /// sure would end one that does.
    fn asking_failed(&mut self, id: &ServiceId, failure: Failure) {
        let now = self.now.monotonic;
        let Some(service) = self.services.get_mut(id).filter(|service| service.runs()) else {
            return self.service_job_failed(id, Some(Doing::Run), failure);
        };
        service.heard = Heard::Asking;
        service.retry_at = Some(now.plus_ms(RETRY_DELAY_MS.max(backoff_ms(service.restarts))));
        service.restarts = service.restarts.saturating_add(1);
        self.change_state(id, ContainerState::Failed(failure));
    }

    /// A start is over. The container may have become ready, or ended, before this news came.
    fn started(
        &mut self,
        id: &ServiceId,
        prepared: Prepared,
        heard: Heard,
        starting: Option<Starting>,
    ) {
        self.note_start(id);
        let Some(service) = self.services.get_mut(id) else {
            return;
        };
        let early = starting.as_ref().is_some_and(|starting| starting.ready);
        let (run, ready) = match service.container.take() {
            Some(Container {
                run: run @ ContainerRunSeen::Exited { .. },
                ready: false,
                ..
            }) => (run, false),
            seen => (
                ContainerRunSeen::Running,
                early || seen.is_some_and(|container| container.ready),
            ),
        };
        // One that was said to have ended while its start was repeated may have been started by that.
        service.doubt = match run {
            ContainerRunSeen::Exited { .. } => Doubt::SaidEnded,
            _ => Doubt::None,
        };
        if heard == Heard::Ended {
            service.heard = Heard::Asking;
        }
        service.container = Some(Container {
            fingerprint: starting.map(|s| s.fingerprint).unwrap_or_default(),
            prepared,
            run,
            ready,
        });
    }

    fn note_start(&mut self, id: &ServiceId) {
        if let Some(generation) = self.services.get(id).map(|service| service.acted_on) {
            self.ledger.started_under.insert(id.clone(), generation);
            self.ledger_changed = true;
        }
    }

    /// Tried again, each time after a longer while: a start only when that may help, a stop and a
    /// removal always, because there is no other way.
    fn service_job_failed(&mut self, id: &ServiceId, doing: Option<Doing>, failure: Failure) {
        let now = self.now.monotonic;
        let Some(service) = self.services.get_mut(id) else {
            return;
        };
        let at = now.plus_ms(RETRY_DELAY_MS.max(backoff_ms(service.restarts)));
        service.restarts = service.restarts.saturating_add(1);
        if doing == Some(Doing::Run) {
            service.doubt = Doubt::MayRun;
            service.start_at = (failure.retry == Retry::MayHelp).then_some(at);
        } else {
            service.retry_at = Some(at);
        }
        self.change_state(id, ContainerState::Failed(failure));
    }
}
