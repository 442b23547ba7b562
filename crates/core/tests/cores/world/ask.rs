//! What tests ask of the world, and what they see in it.

use super::{Parcel, World, service};
use flocker_core::control::{Event, Request, RequestId, Response};
use flocker_types::api::{ApiError, DeployRequest, MoveRequest, PlanRequest, RemoveRequest};
use flocker_types::ids::{NodeId, OperationId, ServiceId};
use flocker_types::link::AgentMessage;
use flocker_types::operation::Operation;
use flocker_types::plan::Plan;
use flocker_types::route::RouteState;

impl World {
    pub(crate) fn ask(&mut self, request: Request) -> u64 {
        let number = self.number();
        let seed = u128::from(number) << 64 | 0x5eed;
        let user = "tester".to_owned();
        self.step_control(Event::Request {
            id: RequestId(number),
            user,
            request,
            seed,
        });
        number
    }

    pub(crate) fn plan(&mut self, request: &PlanRequest) -> Result<Plan, ApiError> {
        let number = self.ask(Request::Plan(Box::new(request.clone())));
        match self
            .replies
            .remove(&number)
            .expect("plans are answered at once")
        {
            Ok(Response::Plan(plan)) => Ok(*plan),
            Ok(other) => panic!("not a plan: {other:?}"),
            Err(error) => Err(error),
        }
    }

    /// Plans and begins; the operations go on while the test delivers.
    pub(crate) fn begin(&mut self, request: &PlanRequest) -> Vec<OperationId> {
        let plan = self.plan(request).expect("a plan");
        let number = self.ask(Request::Deploy(Box::new(DeployRequest { plan })));
        self.started(number)
    }

    pub(crate) fn begin_move(&mut self, name: &str, node: &str) -> Vec<OperationId> {
        let request = MoveRequest {
            service: service(name),
            node: node.to_owned(),
        };
        let number = self.ask(Request::Move(request));
        self.started(number)
    }

    pub(crate) fn begin_remove(&mut self, name: &str) -> Vec<OperationId> {
        let number = self.ask(Request::Remove(RemoveRequest {
            service: service(name),
        }));
        self.started(number)
    }

    /// Control hears this from a node's agent.
    pub(crate) fn hear(&mut self, node: NodeId, message: AgentMessage) {
        let session = self.sessions.iter().find(|(_, of)| **of == node);
        let session = *session.expect("its agent is connected").0;
        self.step_control(Event::AgentMessage { session, message });
    }

    /// Takes the first parcel of this kind off the way, to be late.
    pub(crate) fn hold_back(&mut self, wanted: impl Fn(&Parcel) -> bool) -> Option<Parcel> {
        let at = self.queue.iter().position(wanted)?;
        self.queue.remove(at)
    }

    /// What was held back arrives next.
    pub(crate) fn release(&mut self, parcel: Parcel) {
        self.queue.push_front(parcel);
    }

    fn started(&mut self, number: u64) -> Vec<OperationId> {
        match self.replies.remove(&number).expect("answered at once") {
            Ok(Response::Started(started)) => started.operations,
            other => panic!("not started: {other:?}"),
        }
    }

    pub(crate) fn deploy(&mut self, request: &PlanRequest) {
        self.begin(request);
        self.settle();
    }

    pub(crate) fn operation(&self, id: OperationId) -> &Operation {
        &self
            .control
            .as_ref()
            .expect("control runs")
            .state()
            .operations[&id]
            .operation
    }

    /// The operation that a service has now.
    pub(crate) fn operation_of(&self, id: &ServiceId) -> Option<OperationId> {
        let control = self.control.as_ref().expect("control runs");
        control.state().services.get(id)?.operation
    }

    /// The node on which a service's container runs.
    pub(crate) fn runs_on(&self, name: &str) -> Option<NodeId> {
        let id = service(name);
        self.nodes
            .values()
            .find(|node| node.running().contains(&id))
            .map(|node| node.id)
    }

    /// The service's container writes a record.
    pub(crate) fn write(&mut self, name: &str, record: u64) {
        let id = service(name);
        let node = self.runs_on(name).expect("it runs");
        self.nodes
            .get_mut(&node)
            .expect("a node")
            .write(&id, record);
    }

    /// What the service's container reads.
    pub(crate) fn read(&self, name: &str) -> Vec<u64> {
        let node = self.runs_on(name).expect("it runs");
        self.nodes[&node].read(&service(name))
    }

    /// Where every proxy sends connections to a service.
    pub(crate) fn served_by(&self, name: &str) -> Vec<Option<NodeId>> {
        let id = service(name);
        let of = |node: &NodeId| match &self.routes.get(&(*node, id.clone()))?.state {
            RouteState::Serving(backend) => Some(backend.node),
            RouteState::Held { .. } | RouteState::Down => None,
        };
        self.nodes.keys().map(of).collect()
    }
}
