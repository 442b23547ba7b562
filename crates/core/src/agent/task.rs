//! Tasks: each is done once, one at a time for each volume and service, and its report is kept
//! until control has recorded it.

use super::fingerprint::fingerprint;
use super::ledger::Grant;
use super::service::Doubt;
use super::{Agent, Job, JobId, JobOutcome, Owner};
use crate::mutant::{Mutant, planted};
use flocker_types::ids::{Epoch, Generation, ServiceId, TaskId, VolumeId};
use flocker_types::link::AgentMessage;
use flocker_types::task::{Failure, IncomingVolume, Retry, Task, TaskOutcome, TaskReport, Work};
use flocker_types::volume::Role;

/// A task as this node knows it.
#[derive(Debug, Clone)]
pub(super) struct TaskEntry {
    task: Task,
    job: Option<JobId>,
    /// Its end, once it has one.
    pub(super) report: Option<TaskReport>,
    cancelled: bool,
    /// The directive that was in force for its service when it was given.
    given_under: Option<Generation>,
}

impl Agent {
    pub(super) fn task_given(&mut self, task: Task) {
        let id = task.id;
        if let Some(known) = self.tasks.get(&id) {
            if let Some(report) = known.report.clone()
                && !planted(Mutant::ReportSaidOnce)
            {
                self.send(AgentMessage::Task(report));
            }
            return;
        }
        // An operation has one task at a time; an older one was given up by control.
        let older: Vec<TaskId> = self
            .tasks
            .keys()
            .filter(|other| !other.operation.0.is_nil())
            .filter(|other| other.operation == id.operation && other.sequence < id.sequence)
            .copied()
            .collect();
        older
            .into_iter()
            .for_each(|other| self.task_cancelled(other));
        let given_under = match &task.work {
            Work::Prepare { service, .. } => self.present_generation(service),
            _ => None,
        };
        let entry = TaskEntry {
            given_under,
            task,
            job: None,
            report: None,
            cancelled: false,
        };
        self.tasks.insert(id, entry);
    }

    pub(super) fn task_cancelled(&mut self, id: TaskId) {
        let Some(entry) = self.tasks.get_mut(&id) else {
            return;
        };
        entry.cancelled = true;
        match entry.job {
            Some(job) => self.cancel(job),
            None => drop(self.tasks.remove(&id)),
        }
    }

    /// Begins every task that waits and whose subjects are free.
    pub(super) fn begin_tasks(&mut self) {
        let waiting: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, entry)| entry.job.is_none() && entry.report.is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            let Some(work) = self.tasks.get(&id).map(|entry| entry.task.work.clone()) else {
                continue;
            };
            if self.is_free(&work) {
                self.begin_task(id, work);
            }
        }
    }

    fn is_free(&self, work: &Work) -> bool {
        let (volumes, service) = subjects(work);
        let busy = |entry: &TaskEntry| {
            let (others, other_service) = subjects(&entry.task.work);
            entry.job.is_some()
                && (volumes.iter().any(|volume| others.contains(volume))
                    || service.is_some() && service == other_service)
        };
        !self.tasks.values().any(busy)
    }

    fn begin_task(&mut self, id: TaskId, work: Work) {
        match self.job_for(id, work) {
            Ok(job) => {
                let job = self.begin(Owner::Task(id), job);
                if let Some(entry) = self.tasks.get_mut(&id) {
                    entry.job = Some(job);
                }
            }
            Err(failure) => self.report(id, Err(failure)),
        }
    }

    /// The job that does a task, or why this node must not do it.
    fn job_for(&mut self, id: TaskId, work: Work) -> Result<Job, Failure> {
        let stall_limit_ms = self.tasks[&id].task.stall_limit_ms;
        match work {
            Work::CreateVolume { label } => Ok(Job::CreateVolume { label }),
            Work::Prepare {
                service,
                container,
                incoming,
                image_peers,
            } => {
                self.grant(&incoming);
                let address = self.address_of(&service).ok_or_else(|| {
                    refusal("every container address of this node is taken".to_owned())
                })?;
                let fingerprint = fingerprint(&container);
                Ok(Job::Prepare {
                    service,
                    container,
                    address,
                    fingerprint,
                    incoming,
                    image_peers,
                    stall_limit_ms,
                })
            }
            Work::Copy { volumes, target } => {
                for copy in &volumes {
                    self.must_hold(copy.volume, copy.epoch)?;
                }
                Ok(Job::Copy {
                    task: id,
                    volumes,
                    target,
                    stall_limit_ms,
                })
            }
            Work::Demote {
                volume,
                epoch,
                head,
            } => {
                self.must_not_write(volume)?;
                Ok(Job::Demote {
                    volume,
                    epoch,
                    head,
                })
            }
            Work::Prune { volume, delete } => Ok(Job::Prune { volume, delete }),
            Work::Destroy { volume, epoch } => {
                self.must_not_write(volume)?;
                if self
                    .volumes
                    .get(&volume)
                    .is_some_and(|copy| copy.label.epoch > epoch)
                {
                    return Err(refusal(format!(
                        "volume {} is of a newer epoch here than {epoch}",
                        volume.short()
                    )));
                }
                Ok(Job::Destroy { volume })
            }
        }
    }

    fn grant(&mut self, incoming: &[IncomingVolume]) {
        for volume in incoming {
            let (source, label) = (volume.source, volume.label.clone());
            let grant = Grant {
                source,
                epoch: label.epoch,
                label,
            };
            self.ledger.grants.insert(volume.label.id, grant);
            self.ledger_changed = true;
        }
    }

    fn must_hold(&self, volume: VolumeId, epoch: Epoch) -> Result<(), Failure> {
        let held = self
            .volumes
            .get(&volume)
            .is_some_and(|copy| copy.role == Role::Holder && copy.label.epoch == epoch);
        if held {
            return Ok(());
        }
        Err(refusal(format!(
            "this node does not hold volume {} in epoch {epoch}",
            volume.short()
        )))
    }

    fn must_not_write(&self, volume: VolumeId) -> Result<(), Failure> {
        match self.writer_of(volume) {
            None => Ok(()),
            Some(_) if planted(Mutant::WriterDemoted) => Ok(()),
            Some(service) => Err(refusal(format!(
                "volume {} is in use here by {service}",
                volume.short()
            ))),
        }
    }

    pub(super) fn task_job_done(&mut self, id: TaskId, result: Result<JobOutcome, Failure>) {
        let Some(entry) = self.tasks.get_mut(&id) else {
            return;
        };
        entry.job = None;
        let work = entry.task.work.clone();
        if let (Work::Prepare { service, .. }, Err(_)) = (&work, &result) {
            let service = self.services.entry(service.clone()).or_default();
            service.doubt = service.doubt.max(Doubt::MayExist);
        }
        let Some(entry) = self.tasks.get(&id) else {
            return;
        };
        if entry.cancelled {
            self.tasks.remove(&id);
            return;
        }
        let given_under = entry.given_under;
        if let (
            Work::Prepare {
                service, container, ..
            },
            Ok(JobOutcome::Prepared(prepared)),
        ) = (&work, &result)
        {
            self.container_prepared(service, prepared, fingerprint(container), given_under);
        }
        let outcome = result.map(|outcome| match outcome {
            JobOutcome::Prepared(prepared) => TaskOutcome::Prepared(prepared),
            JobOutcome::Task(outcome) => outcome,
            _ => TaskOutcome::Done,
        });
        self.report(id, outcome);
    }

    fn report(&mut self, id: TaskId, result: Result<TaskOutcome, Failure>) {
        let report = TaskReport { id, result };
        if let Some(entry) = self.tasks.get_mut(&id) {
            entry.report = Some(report.clone());
        }
        self.send(AgentMessage::Task(report));
    }
}

fn refusal(message: String) -> Failure {
    Failure {
        message,
        retry: Retry::Pointless,
    }
}

fn subjects(work: &Work) -> (Vec<VolumeId>, Option<&ServiceId>) {
    match work {
        Work::CreateVolume { label } => (vec![label.id], None),
        Work::Prepare { service, .. } => (Vec::new(), Some(service)),
        Work::Copy { volumes, .. } => (volumes.iter().map(|copy| copy.volume).collect(), None),
        Work::Demote { volume, .. } | Work::Prune { volume, .. } | Work::Destroy { volume, .. } => {
            (vec![*volume], None)
        }
    }
}
