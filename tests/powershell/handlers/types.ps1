# Objects of VMM and Hyper-V, as far as VMFerry uses them: real type names, enums with their numbers
# (which ConvertTo-Json would write), equality by ID, ToString as in the products.
Add-Type -TypeDefinition @'
using System;
using System.Collections.Generic;
using System.Management.Automation;

namespace Microsoft.VirtualManager.Utils
{
    public enum VMComputerSystemState
    {
        Running = 0, PowerOff = 1, PoweringOff = 2, Saved = 3, Saving = 4, Restoring = 5, Paused = 6, DiscardSavedState = 10,
        Starting = 11, MergingDrives = 12, Deleting = 13, Reset = 14, DiscardingDrives = 80, Pausing = 81, UnderCreation = 100,
        CreationFailed = 101, Stored = 102, UnderTemplateCreation = 103, TemplateCreationFailed = 104, CustomizationFailed = 105,
        UnderUpdate = 106, UpdateFailed = 107, ReplacementFailed = 108, UnderReplacement = 109, UnderMigration = 200,
        MigrationFailed = 201, CreatingCheckpoint = 210, DeletingCheckpoint = 211, RecoveringCheckpoint = 212,
        CheckpointFailed = 213, InitializingCheckpointOperation = 214, FinishingCheckpointOperation = 215, Missing = 220,
        HostNotResponding = 221, Unsupported = 222, IncompleteVMConfig = 223, UnsupportedSharedFiles = 224,
        UnsupportedCluster = 225, UnderLiveCloning = 226, DbOnly = 227, P2VCreationFailed = 240, V2VCreationFailed = 250,
        ShieldingFailed = 260
    }

    public class CarmineException : Exception { public CarmineException(string text) : base(text) { } }

    public class ErrorInfo
    {
        public string Code { get; set; }
        public uint DisplayableErrorCode { get; set; }
        public string Problem { get; set; }
        public override string ToString() { return Code + " (" + DisplayableErrorCode + ")"; }
    }
}

namespace Microsoft.SystemCenter.VirtualMachineManager
{
    public enum TaskStatus { NotStarted = 0, Running = 1, Canceling = 2, Failed = 3, Canceled = 4, Completed = 5, SucceedWithInfo = 6 }
    public enum HostComputerState { Adding = 0, Removing = 1, Responding = 2, NotResponding = 3, MaintenanceMode = 8 }
    public enum HostOverallState { OK = 0, NeedsAttention = 1, NotResponding = 2 }
    public enum HostCommunicationState { Responding = 2, NotResponding = 3 }

    public abstract class ClientObject
    {
        public Guid ID { get; set; }
        public string Name { get; set; }
        public override string ToString() { return Name; }
        public override int GetHashCode() { return ID.GetHashCode(); }
        public override bool Equals(object other)
        {
            var one = other as ClientObject;
            return one != null && one.GetType() == GetType() && one.ID == ID;
        }
    }

    public class ServerConnection : ClientObject
    {
        public int Port { get; set; }
        public string ProductVersion { get; set; }
    }

    public class VMNetwork : ClientObject { }
    public class VMSubnet : ClientObject { }
    public class PortClassification : ClientObject { }
    public class PortACL : ClientObject { }

    public class HostVolume : ClientObject
    {
        public ulong Capacity { get; set; }
        public ulong? FreeSpace { get; set; }
    }

    public class Host : ClientObject
    {
        public string FullyQualifiedDomainName { get; set; }
        public string ComputerName { get; set; }
        public HostOverallState OverallState { get; set; }
        public HostCommunicationState CommunicationState { get; set; }
        public HostComputerState ComputerState { get; set; }
        public uint LiveMigrationMaximum { get; set; }
        public uint LiveStorageMigrationMaximum { get; set; }
        public bool EnableLiveMigration { get; set; }
        public bool MaintenanceHost { get; set; }
        public uint? AvailableMemory { get; set; }
        public uint? MemoryReserveMB { get; set; }
        public uint? DiskSpaceReserveMB { get; set; }
        public HostVolume[] DiskVolumes { get; set; }
        public string[] VMPaths { get; set; }
    }

    public class VM : ClientObject
    {
        public string VMId { get; set; }
        public Microsoft.VirtualManager.Utils.VMComputerSystemState Status { get; set; }
        public Microsoft.VirtualManager.Utils.VMComputerSystemState VirtualMachineState { get; set; }
        public Host VMHost { get; set; }
        public string HostName { get; set; }
        public int Memory { get; set; }
        public long TotalSize { get; set; }
        public bool IsHighlyAvailable { get; set; }
        public bool HasPassthroughDisk { get; set; }
        public bool HasSharedStorage { get; set; }
        public bool ShareSCSIBus { get; set; }
        public bool HasVirtualFibreChannelAdapters { get; set; }
        public bool IsUndergoingLiveMigration { get; set; }
        public bool IsRecoveryVM { get; set; }
        public bool IsTestReplicaVM { get; set; }
        public VirtualNetworkAdapter[] VirtualNetworkAdapters { get; set; }
        public Guid MostRecentTaskID { get; set; }
        public Host LibraryServer { get; set; }
    }

    public class VirtualNetworkAdapter : ClientObject
    {
        public string DeviceID { get; set; }
        public string MACAddress { get; set; }
        public string VirtualNetwork { get; set; }
        public VMNetwork VMNetwork { get; set; }
        public VMSubnet VMSubnet { get; set; }
        public PortClassification PortClassification { get; set; }
        public PortACL PortACL { get; set; }
        public bool VLanEnabled { get; set; }
        public ushort VLanID { get; set; }
    }

    public class Task : ClientObject
    {
        public string CmdletName { get; set; }
        public TaskStatus Status { get; set; }
        public int ProgressValue { get; set; }
        public string Progress { get { return ProgressValue + " %"; } }
        public Microsoft.VirtualManager.Utils.ErrorInfo ErrorInfo { get; set; }
        public DateTime StartTime { get; set; }
        public DateTime EndTime { get; set; }
        public string ResultName { get; set; }
        public Guid ResultObjectID { get; set; }
        public Guid TargetObjectID { get; set; }
        public string Source { get; set; }
        public string Target { get; set; }
        public bool IsCompleted { get; set; }
        public bool IsStoppable { get; set; }
    }
}

namespace Microsoft.HyperV.PowerShell
{
    public enum VMState
    {
        Other = 1, Running = 2, Off = 3, Stopping = 4, Saved = 6, Paused = 9, Starting = 10, Reset = 11, Saving = 32773,
        Pausing = 32776, Resuming = 32777, FastSaved = 32779, FastSaving = 32780, RunningCritical = 32785, OffCritical = 32786
    }

    public enum VMOperationalStatus
    {
        Ok = 2, Degraded = 3, PredictiveFailure = 5, InService = 11, Dormant = 15, SupportingEntityInError = 16,
        ApplyingSnapshot = 23769, CreatingSnapshot = 32768, DeletingSnapshot = 32770, WaitingToStart = 32771, MergingDisks = 32772,
        ExportingVirtualMachine = 32773, MigratingVirtualMachine = 32774, BackingUpVirtualMachine = 32776,
        ModifyingUpVirtualMachine = 32777, StorageMigrationPhaseOne = 32778, StorageMigrationPhaseTwo = 32779
    }

    public enum VMReplicationMode { None = 0, Primary = 1, Replica = 2, TestReplica = 3, ExtendedReplica = 4 }
    public enum OnOffState { On = 0, Off = 1 }
    public enum VMNetworkAdapterExtendedAclAction : byte { Allow = 1, Deny = 2 }
    public enum VMNetworkAdapterExtendedAclDirection : byte { Inbound = 1, Outbound = 2 }
    public enum VMNetworkAdapterAclAction : byte { Allow = 1, Deny = 2, Meter = 3 }
    public enum VMNetworkAdapterAclDirection : byte { Inbound = 1, Outbound = 2, Both = 3 }
    public enum VMNetworkAdapterVlanMode { Untagged = 0, Access = 1, Trunk = 2, Private = 3 }
    public enum VMNetworkAdapterIsolationMode { None = 0, NativeVirtualSubnet = 1, ExternalVirtualSubnet = 2, Vlan = 3 }

    public class VirtualizationException : Exception { public VirtualizationException(string text) : base(text) { } }

    public class VMHost
    {
        public string Name { get; set; }
        public string ComputerName { get; set; }
        public string FullyQualifiedDomainName { get; set; }
        public uint MaximumVirtualMachineMigrations { get; set; }
        public uint MaximumStorageMigrations { get; set; }
        public override string ToString() { return Name; }
    }

    public class VirtualMachine
    {
        public Guid Id { get; set; }
        public string Name { get; set; }
        public string ComputerName { get; set; }
        public VMState State { get; set; }
        public VMOperationalStatus[] OperationalStatus { get; set; }
        public VMOperationalStatus? PrimaryOperationalStatus { get; set; }
        public VMOperationalStatus? SecondaryOperationalStatus { get; set; }
        public VMReplicationMode ReplicationMode { get; set; }
        public override string ToString() { return "VirtualMachine (Name = '" + Name + "') [Id = '" + Id + "']"; }
    }

    public class VMSwitch
    {
        public Guid Id { get; set; }
        public string Name { get; set; }
    }

    public abstract class VMNetworkAdapterBase
    {
        public string Id { get; set; }
        public string Name { get; set; }
    }

    public class VMNetworkAdapter : VMNetworkAdapterBase
    {
        public Guid VMId { get; set; }
        public string VMName { get; set; }
        public string MacAddress { get; set; }
        public string SwitchName { get; set; }
        public bool Connected { get; set; }
        public OnOffState MacAddressSpoofing { get; set; }
        public OnOffState DhcpGuard { get; set; }
        public OnOffState RouterGuard { get; set; }
    }

    public class VMNetworkAdapterVlanSetting
    {
        public VMNetworkAdapterVlanMode OperationMode { get; set; }
        public int AccessVlanId { get; set; }
        public int NativeVlanId { get; set; }
        public int[] AllowedVlanIdList { get; set; }
    }

    public class VMNetworkAdapterIsolationSetting
    {
        public VMNetworkAdapterIsolationMode IsolationMode { get; set; }
        public int DefaultIsolationID { get; set; }
    }

    public class VMNetworkAdapterAclSetting
    {
        public VMNetworkAdapterAclDirection Direction { get; set; }
        public VMNetworkAdapterAclAction Action { get; set; }
        public string LocalAddress { get; set; }
        public string RemoteAddress { get; set; }
    }

    public class VMNetworkAdapterExtendedAclSetting
    {
        public VMNetworkAdapterExtendedAclDirection Direction { get; set; }
        public VMNetworkAdapterExtendedAclAction Action { get; set; }
        public string LocalIPAddress { get; set; }
        public string RemoteIPAddress { get; set; }
        public string LocalPort { get; set; }
        public string RemotePort { get; set; }
        public string Protocol { get; set; }
        public int Weight { get; set; }
        public bool Stateful { get; set; }
        public int IdleSessionTimeout { get; set; }
        public int IsolationID { get; set; }
    }
}

namespace Microsoft.Management.Infrastructure
{
    public class CimException : Exception { public CimException(string text) : base(text) { } }
}

// Instances of WMI classes, which have no types of their own in the product.
namespace VMFerry.Tests.Cim
{
    public class Msvm_MigrationJob
    {
        public string VirtualSystemName { get; set; }
        public string DestinationHost { get; set; }
        public ushort JobState { get; set; }
        public ushort PercentComplete { get; set; }
    }

    public class Msvm_VirtualSystemMigrationService
    {
        public uint ActiveVirtualSystemMigrationCount { get; set; }
        public uint ActiveStorageMigrationCount { get; set; }
    }

    public class Msvm_VirtualSystemMigrationServiceSettingData
    {
        public uint MaximumActiveVirtualSystemMigration { get; set; }
        public uint MaximumActiveStorageMigration { get; set; }
        public bool EnableVirtualSystemMigration { get; set; }
    }
}

namespace VMFerry.Tests
{
    // Makes of a row, {"type": full type name, property: value or row...}, the object that it tells.
    public static class Row
    {
        static readonly Dictionary<string, Type> known = new Dictionary<string, Type>();

        public static object Make(object value)
        {
            var wrapped = value as PSObject;
            var plain = wrapped == null ? value : wrapped.BaseObject;
            if (plain is object[])
            {
                var all = Array.ConvertAll((object[])plain, Make);
                return all;
            }
            if (!(plain is PSCustomObject)) return plain;
            var made = Activator.CreateInstance(Find((string)wrapped.Properties["type"].Value));
            foreach (var one in wrapped.Properties)
            {
                if (one.Name == "type" || one.Value == null) continue;
                var property = made.GetType().GetProperty(one.Name);
                property.SetValue(made, LanguagePrimitives.ConvertTo(Make(one.Value), property.PropertyType));
            }
            return made;
        }

        static Type Find(string name)
        {
            Type found;
            if (!known.TryGetValue(name, out found)) known[name] = found = typeof(Row).Assembly.GetType(name, true);
            return found;
        }
    }
}
'@
