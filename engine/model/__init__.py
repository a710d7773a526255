"""The values of VMFerry: fleet, network, run, move, attempt, approval.

All values are frozen and do no I/O. Conventions:

* Times are ``float`` Unix seconds, UTC. Durations are seconds. Memory and disk are MB.
* A VM is identified by its Hyper-V VM id, never by its name.
* Hosts are named by FQDN in VMM's spelling; compare them with :func:`same_host`.
* An unknown fact is ``None`` or empty, never a guess.
"""

from __future__ import annotations

from engine.model.ages import HYPERV as HYPERV
from engine.model.ages import NEVER as NEVER
from engine.model.ages import REREADS as REREADS
from engine.model.ages import Age as Age
from engine.model.ages import Look as Look
from engine.model.ages import PartKind as PartKind
from engine.model.approvals import Approval as Approval
from engine.model.approvals import ApprovalState as ApprovalState
from engine.model.approvals import Review as Review
from engine.model.calls import CHANGING as CHANGING
from engine.model.calls import CallKind as CallKind
from engine.model.calls import OpenCall as OpenCall
from engine.model.composition import compose as compose
from engine.model.fleet import DOWN as DOWN
from engine.model.fleet import Fleet as Fleet
from engine.model.fleet import Host as Host
from engine.model.fleet import HyperVState as HyperVState
from engine.model.fleet import Job as Job
from engine.model.fleet import JobState as JobState
from engine.model.fleet import Power as Power
from engine.model.fleet import Vm as Vm
from engine.model.fleet import Volume as Volume
from engine.model.fleet import is_called as is_called
from engine.model.fleet import same_host as same_host
from engine.model.fleet import short as short
from engine.model.hearing import Heard as Heard
from engine.model.hearing import Hearing as Hearing
from engine.model.hearing import LastWord as LastWord
from engine.model.hearing import Says as Says
from engine.model.looks import Expected as Expected
from engine.model.looks import HostInventory as HostInventory
from engine.model.looks import HostMigration as HostMigration
from engine.model.looks import JobList as JobList
from engine.model.looks import KnownHost as KnownHost
from engine.model.looks import KnownVm as KnownVm
from engine.model.looks import Pulse as Pulse
from engine.model.looks import Reread as Reread
from engine.model.looks import ShownVm as ShownVm
from engine.model.looks import Site as Site
from engine.model.looks import VmmInventory as VmmInventory
from engine.model.looks import Word as Word
from engine.model.network import MODELLED as MODELLED
from engine.model.network import Acl as Acl
from engine.model.network import Adapter as Adapter
from engine.model.network import AdapterRepair as AdapterRepair
from engine.model.network import Difference as Difference
from engine.model.network import Half as Half
from engine.model.network import Network as Network
from engine.model.network import Repair as Repair
from engine.model.network import classic_key as classic_key
from engine.model.network import classic_rule as classic_rule
from engine.model.network import guards_of as guards_of
from engine.model.network import join_halves as join_halves
from engine.model.parts import Body as Body
from engine.model.parts import Part as Part
from engine.model.runs import CHARGED as CHARGED
from engine.model.runs import MIGRATIONS as MIGRATIONS
from engine.model.runs import MOVE_ENDS as MOVE_ENDS
from engine.model.runs import MOVED as MOVED
from engine.model.runs import RUN_ENDS as RUN_ENDS
from engine.model.runs import Attempt as Attempt
from engine.model.runs import AttemptKind as AttemptKind
from engine.model.runs import Damage as Damage
from engine.model.runs import Doubt as Doubt
from engine.model.runs import Event as Event
from engine.model.runs import Move as Move
from engine.model.runs import MoveOrder as MoveOrder
from engine.model.runs import MoveRecord as MoveRecord
from engine.model.runs import MoveState as MoveState
from engine.model.runs import Options as Options
from engine.model.runs import Outcome as Outcome
from engine.model.runs import Reading as Reading
from engine.model.runs import Request as Request
from engine.model.runs import Result as Result
from engine.model.runs import Rights as Rights
from engine.model.runs import Run as Run
from engine.model.runs import RunRecord as RunRecord
from engine.model.runs import RunState as RunState
from engine.model.runs import Wait as Wait
