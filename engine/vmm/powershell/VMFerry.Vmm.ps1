# VMFerry.Vmm: what VMFerry asks of a VMM server; VMFerry.Shared.ps1 comes before this text.
#
# Only SC names are used: where VMM's console is, Get-VM means Get-SCVirtualMachine. Start-VmfMove alone
# answers with the class stale.

$script:VmfConnection = $null
$script:VmfConnectedTo = ''
# Hyper-V id -> VMM's own ids, from the last list of all VMs: a hint that is always checked.
$script:VmfKnown = @{}

#region The connection, and finding things
# The connection to VMM, kept for the life of this shell until VMM does not answer.
function Connect-VmfServer {
    param([string] $VmmServer, [int] $Port)
    $wanted = "${VmmServer}:${Port}"
    if ($null -ne $script:VmfConnection -and $script:VmfConnectedTo -eq $wanted) { return $script:VmfConnection }
    try {
        if ($null -eq (Get-Module -Name 'virtualmachinemanager')) {
            Import-Module -Name 'virtualmachinemanager' -DisableNameChecking
        }
        $script:VmfConnection = Get-SCVMMServer -ComputerName $VmmServer -TCPPort $Port
        $script:VmfConnectedTo = $wanted
    }
    catch {
        # Whatever its number is: without a connection nothing was asked of VMM.
        $said = ConvertTo-VmfSentence -Message $_.Exception.Message
        throw (New-VmfError -Class 'unavailable' -Code 'connect' -Message $said)
    }
    $script:VmfConnection
}

# As ConvertTo-VmfFailure; forgets a connection that may be dead.
function ConvertTo-VmfServerFailure {
    param([System.Management.Automation.ErrorRecord] $ErrorRecord)
    $failure = ConvertTo-VmfFailure -ErrorRecord $ErrorRecord
    if ($failure -match '"class":"unavailable"') { $script:VmfConnection = $null }
    $failure
}

# The host of this name; a host that VMM does not know is refused.
function Find-VmfHost {
    param($Server, [string] $Name)
    foreach ($vmHost in (Get-SCVMHost -VMMServer $Server -ComputerName $Name)) {
        if ([string] $vmHost.Name -eq $Name) { return $vmHost }
    }
    throw (New-VmfError -Class 'refused' -Code 'not_found' -Message "VMM knows no host $Name")
}

# Is this VM a replica copy? It has the same Hyper-V id as the VM that it copies.
function Test-VmfReplica {
    param($Vm)
    (Get-VmfProperty -InputObject $Vm -Name 'IsRecoveryVM' -Default $false) -or
    (Get-VmfProperty -InputObject $Vm -Name 'IsTestReplicaVM' -Default $false)
}

# The Hyper-V id of a VM; VMM's own id where it has none (stored in a library).
function Get-VmfVmId {
    param($Vm)
    $id = ConvertTo-VmfId -Id $Vm.VMId
    if ($id.Length -eq 0) { return ConvertTo-VmfId -Id $Vm.ID }
    $id
}

# All VMs that VMM knows; remembers which Hyper-V id is which object.
function Get-VmfVmList {
    param($Server)
    $known = @{}
    foreach ($vm in (Get-SCVirtualMachine -VMMServer $Server -All)) {
        $id = Get-VmfVmId -Vm $vm
        $known[$id] += @([guid] $vm.ID)
        $vm
    }
    $script:VmfKnown = $known
}

# The VMs of this Hyper-V id, one as a rule; neither stored ones nor replica copies.
# VMM cannot be asked for a Hyper-V id. What the last list showed is asked for by VMM's id and
# compared; only where that is not so any more are all VMs listed.
function Find-VmfVm {
    param($Server, [string] $VmId)
    $wanted = ConvertTo-VmfId -Id $VmId
    $found = @(foreach ($objectId in $script:VmfKnown[$wanted]) {
            foreach ($vm in (Get-SCVirtualMachine -VMMServer $Server -ID $objectId)) { $vm }
        })
    $real = @(Select-VmfVm -Vms $found -VmId $wanted)
    if ($real.Count -eq 0) { $real = @(Select-VmfVm -Vms @(Get-VmfVmList -Server $Server) -VmId $wanted) }
    $real
}

# Those of these VMs that have this Hyper-V id and are neither stored nor a replica copy.
function Select-VmfVm {
    param([object[]] $Vms, [string] $VmId)
    foreach ($vm in $Vms) {
        if ($null -eq $vm -or (Get-VmfVmId -Vm $vm) -ne $VmId) { continue }
        if ([string] $vm.Status -eq 'Stored' -or (Test-VmfReplica -Vm $vm)) { continue }
        $vm
    }
}

# The VM of this Hyper-V id; none, or several, are refused.
function Find-VmfOnlyVm {
    param($Server, [string] $VmId)
    $found = @(Find-VmfVm -Server $Server -VmId $VmId)
    if ($found.Count -eq 1) { return $found[0] }
    if ($found.Count -eq 0) {
        throw (New-VmfError -Class 'refused' -Code 'not_found' -Message "VMM knows no virtual machine $VmId")
    }
    $places = (@(foreach ($vm in $found) { [string] $vm.HostName }) -join ' and ')
    throw (New-VmfError -Class 'refused' -Code 'ambiguous' -Message "VMM shows $VmId on $places")
}
#endregion

#region Looking at the whole fleet
function Get-VmfVersion {
    <#
    .SYNOPSIS
    What is installed here: this module, PowerShell and VMM.
    .OUTPUTS
    One JSON text; data is {module, powershell, vmm}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The VMM server as seen from here.
        [string] $VmmServer = 'localhost',
        # Its port for commands.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        ConvertTo-VmfReply -Data ([ordered]@{
                module     = '1'
                powershell = [string] $PSVersionTable.PSVersion
                vmm        = [string] (Get-VmfProperty -InputObject $server -Name 'ProductVersion' -Default '')
            })
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

function Get-VmfFleet {
    <#
    .SYNOPSIS
    Everything at once: hosts, VMs, migration jobs and the server's time.
    .DESCRIPTION
    Changes nothing, but for the hosts named in Refresh, which VMM re-reads first. Where that meets a
    lock the host says locked; where it fails the host says error; neither fails the call. Jobs are
    read before VMs, so that no job is over while its VM is shown as it was before. server_time is
    the time after the refreshes, which can take a minute, and before anything was looked at.
    .OUTPUTS
    One JSON text; data is {server_time, hosts, vms, jobs}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # Ids of jobs to show even when they have ended.
        [AllowNull()] [AllowEmptyCollection()] [AllowEmptyString()] [string[]] $Jobs = @(),
        # Names of hosts that VMM shall re-read first.
        [AllowNull()] [AllowEmptyCollection()] [AllowEmptyString()] [string[]] $Refresh = @(),
        # The VMM server as seen from here.
        [string] $VmmServer = 'localhost',
        # Its port for commands.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $said = Update-VmfHostList -Server $server -Names $Refresh
        $time = ConvertTo-VmfTime -Date (Get-Date)
        $hostRows = [object[]]@(foreach ($vmHost in (Get-SCVMHost -VMMServer $server)) {
                ConvertTo-VmfHost -VmHost $vmHost -Said $said
            })
        $jobRows = @(Get-VmfMoveJob -Server $server -Ids $Jobs)
        $byObject = @{}
        $vmRows = [object[]]@(foreach ($vm in (Get-VmfVmList -Server $server)) {
                $byObject[[string] $vm.ID] = @((Get-VmfVmId -Vm $vm), (ConvertTo-VmfText -Value $vm.HostName))
                ConvertTo-VmfVm -Vm $vm
            })
        $names = @(foreach ($row in $hostRows) { $row['name'] })
        foreach ($row in $jobRows) { Complete-VmfJob -Row $row -ByObject $byObject -HostNames $names }
        ConvertTo-VmfReply -Data ([ordered]@{
                server_time = $time; hosts = $hostRows; vms = $vmRows; jobs = [object[]] $jobRows
            })
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

# Have VMM re-read these hosts; answers a table from name to what came of it.
function Update-VmfHostList {
    param($Server, [string[]] $Names)
    $said = @{}
    if ($null -eq $Names -or $Names.Count -eq 0) { return $said }
    foreach ($vmHost in (Get-SCVMHost -VMMServer $Server)) {
        if ($Names -notcontains [string] $vmHost.Name) { continue }
        $note = @{ refreshed = $false; locked = $false; error = $null }
        try {
            $null = Read-SCVMHost -VMHost $vmHost
            $note['refreshed'] = $true
        }
        catch {
            $note['locked'] = (Get-VmfErrorClass -ErrorRecord $_) -eq 'locked'
            if (-not $note['locked']) {
                $text = ConvertTo-VmfSentence -Message $_.Exception.Message
                $code = Get-VmfErrorCode -ErrorRecord $_
                if ($code) { $text = "$text ($code)" }
                $note['error'] = $text
            }
        }
        $said[[string] $vmHost.Name] = $note
    }
    $said
}

# One host as VMM knows it.
function ConvertTo-VmfHost {
    param($VmHost, [hashtable] $Said)
    $name = [string] $VmHost.Name
    $note = @{ refreshed = $false; locked = $false; error = $null }
    if ($Said.ContainsKey($name)) { $note = $Said[$name] }
    $responds = ([string] $VmHost.CommunicationState) -eq 'Responding'
    $problem = $note['error']
    if (-not $responds -and $null -eq $problem) { $problem = "VMM's agent on $name is $($VmHost.CommunicationState)" }
    # Which of the two says it differs with the version; MaintenanceHost is an older, other thing.
    $states = @([string] $VmHost.ComputerState, [string] $VmHost.OverallState)
    [ordered]@{
        name           = $name
        live_limit     = [int] $VmHost.LiveMigrationMaximum
        storage_limit  = [int] $VmHost.LiveStorageMigrationMaximum
        refreshed      = [bool] $note['refreshed']
        locked         = [bool] $note['locked']
        responding     = $responds
        error          = $problem
        maintenance    = $states -contains 'MaintenanceMode'
        path           = Get-VmfDefaultPath -VmHost $VmHost
        free_memory_mb = Get-VmfFreeMemory -VmHost $VmHost
        volumes        = Get-VmfVolumeList -VmHost $VmHost
    }
}

# The first default path of a host, or null.
function Get-VmfDefaultPath {
    param($VmHost)
    foreach ($path in $VmHost.VMPaths) { if ($path) { return [string] $path } }
    $null
}

# MB of memory that VMs may still take, without the host's reserve; null where VMM does not know.
function Get-VmfFreeMemory {
    param($VmHost)
    $free = Get-VmfProperty -InputObject $VmHost -Name 'AvailableMemory' -Default $null
    if ($null -eq $free) { return $null }
    $reserve = Get-VmfProperty -InputObject $VmHost -Name 'MemoryReserveMB' -Default 0
    [math]::Max([long] 0, [long] $free - [long] $reserve)
}

# The volumes of a host and the MB that VMs may still take there; null where VMM does not know.
# All of them or none: one that was left out would look like one that is not there.
function Get-VmfVolumeList {
    param($VmHost)
    $reserve = [long] (Get-VmfProperty -InputObject $VmHost -Name 'DiskSpaceReserveMB' -Default 0)
    $rows = [System.Collections.ArrayList]@()
    foreach ($volume in (Get-VmfProperty -InputObject $VmHost -Name 'DiskVolumes' -Default @())) {
        $free = Get-VmfProperty -InputObject $volume -Name 'FreeSpace' -Default $null
        if ($null -eq $free) { return $null }
        $megabytes = [long] [math]::Floor(([double] $free) / 1048576) - $reserve
        $null = $rows.Add([ordered]@{
                name    = ([string] $volume.Name).TrimEnd([char] '\')
                free_mb = [math]::Max([long] 0, $megabytes)
            })
    }
    if ($rows.Count -eq 0) { return $null }
    , [object[]] $rows.ToArray()
}

# One VM as VMM knows it.
function ConvertTo-VmfVm {
    param($Vm)
    $replica = [bool] (Test-VmfReplica -Vm $Vm)
    $kinds = [ordered]@{
        IsHighlyAvailable = 'ha'; HasPassthroughDisk = 'pass_through'; HasSharedStorage = 'shared_disk'
        ShareSCSIBus = 'shared_disk'; HasVirtualFibreChannelAdapters = 'fibre_channel'
    }
    $blocks = @()
    foreach ($name in $kinds.Keys) {
        $blocking = Get-VmfProperty -InputObject $Vm -Name $name -Default $false
        if ($blocking -and $blocks -notcontains $kinds[$name]) { $blocks += $kinds[$name] }
    }
    if ($replica) { $blocks += 'replica' }
    [ordered]@{
        id        = Get-VmfVmId -Vm $Vm
        name      = [string] $Vm.Name
        host      = ConvertTo-VmfText -Value $Vm.HostName
        status    = [string] $Vm.Status
        memory_mb = [int] $Vm.Memory
        disk_mb   = [long] [math]::Floor(([double] $Vm.TotalSize) / 1048576)
        adapters  = @(foreach ($adapter in $Vm.VirtualNetworkAdapters) { $adapter }).Count
        stored    = ([string] $Vm.Status) -eq 'Stored'
        replica   = $replica
        blocks    = [object[]] $blocks
    }
}

# The running migration jobs, and those of these ids that VMM still knows.
function Get-VmfMoveJob {
    param($Server, [string[]] $Ids)
    $seen = @{}
    foreach ($job in (Get-SCJob -VMMServer $Server -Running)) {
        if ([string] $job.CmdletName -ne 'Move-SCVirtualMachine') { continue }
        $seen[[string] $job.ID] = $true
        ConvertTo-VmfJob -Job $job
    }
    foreach ($id in $Ids) {
        $guid = [guid]::Empty
        if (-not [guid]::TryParse($id, [ref] $guid) -or $seen.ContainsKey([string] $guid)) { continue }
        $seen[[string] $guid] = $true
        foreach ($job in (Find-VmfJob -Server $Server -Id $guid)) { ConvertTo-VmfJob -Job $job }
    }
}

# The job of this id, or nothing where VMM does not know it (any more).
function Find-VmfJob {
    param($Server, [guid] $Id)
    try { Get-SCJob -VMMServer $Server -ID $Id }
    catch { if (-not (Test-VmfRefusal -ErrorRecord $_)) { throw } }
}

# One job. Which VM it moves is filled in by Complete-VmfJob, from VMM's own id in vm_id.
function ConvertTo-VmfJob {
    param($Job)
    $state = Get-VmfJobState -Job $Job
    $problem = $null
    $code = $null
    if ($state -eq 'failed' -and $null -ne $Job.ErrorInfo) {
        $problem = ConvertTo-VmfText -Value $Job.ErrorInfo.Problem
        $code = [string] $Job.ErrorInfo.DisplayableErrorCode
        if (@('', '0') -contains $code) { $code = $null }
    }
    $object = $Job.ResultObjectID
    if ($null -eq $object -or [guid] $object -eq [guid]::Empty) { $object = $Job.TargetObjectID }
    [ordered]@{
        id       = [string] $Job.ID
        vm_id    = [string] $object
        source   = ConvertTo-VmfText -Value $Job.Source
        target   = ConvertTo-VmfText -Value $Job.Target
        state    = $state
        progress = [int] $Job.ProgressValue
        error    = $problem
        code     = $code
        started  = ConvertTo-VmfJobTime -Date $Job.StartTime
        ended    = ConvertTo-VmfJobTime -Date $Job.EndTime
        name     = [string] $Job.Name
    }
}

# A time of a job, or null: VMM writes DateTime's smallest value where there is none yet.
function ConvertTo-VmfJobTime {
    param($Date)
    if ($null -eq $Date -or ([datetime] $Date).Year -lt 1900) { return $null }
    ConvertTo-VmfTime -Date $Date
}

# running, completed, failed or canceled. A word that is new to us and over is not a success.
function Get-VmfJobState {
    param($Job)
    $word = [string] $Job.Status
    if (@('Completed', 'SucceedWithInfo') -contains $word) { return 'completed' }
    if ($word -eq 'Failed') { return 'failed' }
    if (@('Canceled', 'Cancelled') -contains $word) { return 'canceled' }
    if ($Job.IsCompleted) { return 'failed' }
    'running'
}

# Put the Hyper-V id of its VM and full host names into a job.
# VMM fills Source and Target late, and not in every version; the job's name holds both hosts in
# that order. While it runs, its VM is on the source.
function Complete-VmfJob {
    param([System.Collections.IDictionary] $Row, [hashtable] $ByObject, [string[]] $HostNames)
    $title = [string] $Row['name']
    $Row.Remove('name')
    $place = $null
    $object = [string] $Row['vm_id']
    $Row['vm_id'] = ConvertTo-VmfId -Id $object
    if ($ByObject.ContainsKey($object)) {
        $Row['vm_id'] = $ByObject[$object][0]
        $place = $ByObject[$object][1]
    }
    foreach ($end in @('source', 'target')) { $Row[$end] = Resolve-VmfHostName -Word $Row[$end] -HostNames $HostNames }
    if ($null -eq $Row['source'] -and $null -eq $Row['target']) {
        $named = @(foreach ($one in $HostNames) {
                $at = $title.IndexOf($one, [System.StringComparison]::OrdinalIgnoreCase)
                if ($at -ge 0) { [pscustomobject]@{ At = $at; Name = $one } }
            })
        if ($named.Count -eq 2) {
            $first, $second = $named | Sort-Object -Property 'At'
            $Row['source'] = $first.Name
            $Row['target'] = $second.Name
        }
    }
    if ($null -eq $Row['source'] -and $Row['state'] -eq 'running') { $Row['source'] = $place }
}

# The full name of the host that this word means, or null.
function Resolve-VmfHostName {
    param($Word, [string[]] $HostNames)
    if ($null -eq $Word) { return $null }
    foreach ($name in $HostNames) { if ($name -eq $Word) { return $name } }
    foreach ($name in $HostNames) { if (($name -split '\.', 2)[0] -eq $Word) { return $name } }
    $null
}
#endregion

#region Networks
function Get-VmfNetwork {
    <#
    .SYNOPSIS
    VMM's model of the adapters of these VMs. A VM that VMM does not know is left out.
    .OUTPUTS
    One JSON text; data is {vms}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # Hyper-V ids of VMs.
        [Parameter(Mandatory = $true)] [AllowEmptyCollection()] [AllowEmptyString()] [string[]] $VmIds,
        # The VMM server as seen from here.
        [string] $VmmServer = 'localhost',
        # Its port for commands.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $rows = [object[]]@(foreach ($id in $VmIds) {
                $vms = @(Find-VmfVm -Server $server -VmId $id)
                if ($vms.Count -eq 0) { continue }
                $adapters = [object[]]@(foreach ($adapter in (Get-SCVirtualNetworkAdapter -VMMServer $server -VM $vms[0])) {
                        ConvertTo-VmfAdapter -Adapter $adapter
                    })
                [ordered]@{ id = ConvertTo-VmfId -Id $id; adapters = $adapters }
            })
        ConvertTo-VmfReply -Data ([ordered]@{ vms = $rows })
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

# One adapter as VMM models it.
function ConvertTo-VmfAdapter {
    param($Adapter)
    $vlan = 0
    if ($Adapter.VLanEnabled) { $vlan = [int] $Adapter.VLanID }
    [ordered]@{
        id             = ConvertTo-VmfAdapterId -Id $Adapter.DeviceID
        mac            = ConvertTo-VmfMac -Mac $Adapter.MACAddress
        network        = Get-VmfName -Named $Adapter.VMNetwork
        subnet         = Get-VmfName -Named $Adapter.VMSubnet
        switch         = ConvertTo-VmfText -Value $Adapter.VirtualNetwork
        vlan           = $vlan
        classification = Get-VmfName -Named $Adapter.PortClassification
        port_acl       = Get-VmfName -Named (Get-VmfProperty -InputObject $Adapter -Name 'PortACL' -Default $null)
    }
}

# The name of an object, or null where there is none.
function Get-VmfName {
    param($Named)
    if ($null -eq $Named) { return $null }
    ConvertTo-VmfText -Value $Named.Name
}

# The parameters that connect an adapter as the caller wants it: VM network, switch, subnet and port
# classification. VMM gets network and switch where both are known: a switch alone lost the network in VMM
# 2016. It takes a subnet, and a classification, for a connection that is named with it. While the network
# stays the same, so do its subnet and port classification.
function Get-VmfConnectionChange {
    param($Server, $Adapter, $Wanted, [switch] $KnownOnly)
    $name = @{}
    foreach ($field in @('network', 'switch', 'subnet', 'classification')) {
        $name[$field] = [string] (Get-VmfField -InputObject $Wanted -Name $field)
    }
    $change = @{}
    $current = Get-VmfName -Named $Adapter.VMNetwork
    if (-not $name['network'] -and ($name['switch'] + $name['subnet'] + $name['classification'])) {
        $name['network'] = [string] $current
    }
    if ($name['network']) {
        if ($current -eq $name['network']) {
            $change['VMNetwork'] = $Adapter.VMNetwork
            if ($null -ne $Adapter.VMSubnet) { $change['VMSubnet'] = $Adapter.VMSubnet }
            if ($null -ne $Adapter.PortClassification) { $change['PortClassification'] = $Adapter.PortClassification }
        }
        else {
            $named = @{ Name = $name['network']; Kind = 'VM network'; Code = 'no_network' }
            $change['VMNetwork'] = Find-VmfNamed -Objects @(Get-SCVMNetwork -VMMServer $Server) @named
        }
        if (-not $name['switch']) { $name['switch'] = [string] $Adapter.VirtualNetwork }
    }
    if ($name['switch']) { $change['VirtualNetwork'] = $name['switch'] }
    Add-VmfModelChange -Server $Server -Change $change -Wanted $Wanted -KnownOnly:$KnownOnly
    $change
}

# The one of these objects that has exactly this name; none, or several, are refused, or nothing where Optional.
function Find-VmfNamed {
    param([object[]] $Objects, [string] $Name, [string] $Kind, [string] $Code, [switch] $Optional)
    $found = @(foreach ($one in $Objects) { if ([string] $one.Name -eq $Name) { $one } })
    if ($found.Count -eq 1) { return $found[0] }
    if ($Optional) { return $null }
    $count = "no $Kind"
    if ($found.Count -gt 1) { $count = "several ${Kind}s" }
    throw (New-VmfError -Class 'refused' -Code $Code -Message "VMM knows $count named '$Name'")
}

# Add subnet and port classification by their names to a change, where it does not have them yet; with
# KnownOnly one that VMM does not know is left out. Names of subnets are unique in their VM network only.
function Add-VmfModelChange {
    param($Server, [hashtable] $Change, $Wanted, [switch] $KnownOnly)
    $subnet, $classification = [string] $Wanted.subnet, [string] $Wanted.classification
    if ($subnet -and (Get-VmfName -Named $Change['VMSubnet']) -ne $subnet) {
        $within = @{}
        if ($null -ne $Change['VMNetwork']) { $within['VMNetwork'] = $Change['VMNetwork'] }
        $named = @{ Name = $subnet; Kind = 'VM subnet'; Code = 'no_subnet' }
        $found = Find-VmfNamed -Objects @(Get-SCVMSubnet -VMMServer $Server @within) @named -Optional:$KnownOnly
        if ($null -ne $found) { $Change['VMSubnet'] = $found }
    }
    if ($classification -and (Get-VmfName -Named $Change['PortClassification']) -ne $classification) {
        $named = @{ Name = $classification; Kind = 'port classification'; Code = 'no_classification' }
        $found = Find-VmfNamed -Objects @(Get-SCPortClassification -VMMServer $Server) @named -Optional:$KnownOnly
        if ($null -ne $found) { $Change['PortClassification'] = $found }
    }
}

function Repair-VmfNetwork {
    <#
    .SYNOPSIS
    Put back on adapters of a VM what VMM models of them. Idempotent.
    .DESCRIPTION
    VMM re-reads the VM first. Where it is not on the named host nothing is done: what was lost there
    is not to be put back elsewhere.
    .OUTPUTS
    One JSON text; data is {}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The Hyper-V id of the VM.
        [Parameter(Mandatory = $true)] [string] $VmId,
        # The full name of the host where it must be.
        [Parameter(Mandatory = $true)] [string] $HostName,
        # JSON text: [{id, mac, network, subnet, switch, vlan, classification, port_acl}]; null leaves alone,
        # VLAN 0 is untagged. An adapter is found by id, else by its MAC where that is unique and not zero.
        [Parameter(Mandatory = $true)] [string] $Adapters,
        # The VMM server as seen from here.
        [string] $VmmServer = 'localhost',
        # Its port for commands.
        [int] $Port = 8100
    )
    try {
        $wanted = ConvertFrom-Json -InputObject $Adapters
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $null = Read-SCVirtualMachine -VM (Find-VmfOnlyVm -Server $server -VmId $VmId)
        $vm = Find-VmfOnlyVm -Server $server -VmId $VmId
        if ([string] $vm.HostName -ne $HostName) {
            $place = Get-VmfShortName -Name $HostName
            throw (New-VmfError -Class 'refused' -Code 'elsewhere' -Message "'$($vm.Name)' is not on $place")
        }
        $there = @(foreach ($one in (Get-SCVirtualNetworkAdapter -VMMServer $server -VM $vm)) { $one })
        foreach ($repair in $wanted) {
            $adapter = Find-VmfAdapter -Adapters $there -IdProperty 'DeviceID' -Wanted $repair -VmName $vm.Name
            $change = Get-VmfRepairChange -Server $server -Adapter $adapter -Repair $repair
            if ($change.Count -gt 0) { $null = Set-SCVirtualNetworkAdapter -VirtualNetworkAdapter $adapter @change }
        }
        ConvertTo-VmfReply -Data ([ordered]@{})
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

# The parameters that put back on an adapter what the caller names, and nothing else.
function Get-VmfRepairChange {
    param($Server, $Adapter, $Repair)
    $change = Get-VmfConnectionChange -Server $Server -Adapter $Adapter -Wanted $Repair
    $portAcl = [string] (Get-VmfField -InputObject $Repair -Name 'port_acl')
    if ($portAcl.Length -gt 0) {
        $known = @(Get-SCPortACL -VMMServer $Server)
        $change['PortACL'] = Find-VmfNamed -Objects $known -Name $portAcl -Kind 'port ACL' -Code 'no_port_acl'
    }
    $vlan = Get-VmfField -InputObject $Repair -Name 'vlan'
    if ($null -ne $vlan) { Add-VmfVlanChange -Change $change -Vlan $vlan }
    $change
}

# Add the parameters for an access VLAN to a change; 0 is untagged.
function Add-VmfVlanChange {
    param([hashtable] $Change, [int] $Vlan)
    $Change['VLanEnabled'] = $Vlan -gt 0
    if ($Vlan -gt 0) { $Change['VLanID'] = [uint16] $Vlan }
}
#endregion

#region Moving
function Start-VmfMove {
    <#
    .SYNOPSIS
    Compare and start: move a VM, if the world is still as the caller saw it.
    .DESCRIPTION
    VMM re-reads the VM; then it must be on Source, of that power, not migrating, and NotAfter must
    not have passed on this server's clock: else nothing is done and the class is stale. A host
    without a free slot fails the move instead of queueing it. Returns while the job runs. Not
    idempotent. Never starts the VM, never discards its saved state.
    .OUTPUTS
    One JSON text; data is {job}, the id of the job, or null where VMM did not say.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The Hyper-V id of the VM.
        [Parameter(Mandatory = $true)] [string] $VmId,
        # The full name of the host where it must be.
        [Parameter(Mandatory = $true)] [string] $Source,
        # The full name of the host to move it to.
        [Parameter(Mandatory = $true)] [string] $Destination,
        # A folder there; empty: the first default path of that host.
        [AllowNull()] [AllowEmptyString()] [string] $Path,
        # running, or down (off, saved or paused).
        [Parameter(Mandatory = $true)] [ValidateSet('running', 'down')] [string] $Power,
        # JSON text: [{id, mac, network, subnet, switch, vlan, classification}], the adapters to bind into
        # the job of a powered-down VM; VLAN null binds none (a trunk). All go into one job group with it.
        [AllowNull()] [AllowEmptyString()] [string] $Pin,
        # ISO 8601: when the caller's decision becomes void.
        [Parameter(Mandatory = $true)] [string] $NotAfter,
        # The VMM server as seen from here.
        [string] $VmmServer = 'localhost',
        # Its port for commands.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $null = Find-VmfHost -Server $server -Name $Source
        $target = Find-VmfHost -Server $server -Name $Destination
        $vm = Find-VmfMovingVm -Server $server -VmId $VmId -Source $Source
        Assert-VmfInTime -Vm $vm -NotAfter $NotAfter
        # Before the refresh too: a migration locks its VM, and that would look like any lock.
        Assert-VmfNotMigrating -Server $server -Vm $vm
        $null = Read-SCVirtualMachine -VM $vm
        $vm = Find-VmfMovingVm -Server $server -VmId $VmId -Source $Source
        Assert-VmfUnchanged -Server $server -Vm $vm -Source $Source -Power $Power
        $move = @{ VM = $vm; VMHost = $target }
        if (-not $Path) { $Path = Get-VmfDefaultPath -VmHost $target }
        if ($Path) { $move['Path'] = $Path }
        if ($Power -eq 'down' -and $Pin) {
            $group = [guid]::NewGuid()
            if (Set-VmfPin -Server $server -Vm $vm -Pin $Pin -JobGroup $group) { $move['JobGroup'] = $group }
        }
        # Looking and pinning took time; commands of a job group that never runs do nothing.
        Assert-VmfInTime -Vm $vm -NotAfter $NotAfter
        $before = [string] $vm.MostRecentTaskID
        $name = 'vmfJob' + [guid]::NewGuid().ToString('N')
        $null = Move-SCVirtualMachine @move -BlockLiveMigrationIfHostBusy -RunAsynchronously -JobVariable $name
        $job = Wait-VmfJobVariable -Name $name
        if ($null -eq $job) { $job = Find-VmfLatestMove -Server $server -Vm $vm -Before $before }
        ConvertTo-VmfReply -Data ([ordered]@{ job = $job })
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

# The error of the guard: nothing was done, look again.
function New-VmfStale {
    param([string] $Code, [string] $Message)
    New-VmfError -Class 'stale' -Code $Code -Message $Message
}

# The VM to move: the object on the source, where VMM shows several of one id.
function Find-VmfMovingVm {
    param($Server, [string] $VmId, [string] $Source)
    $found = @(Find-VmfVm -Server $Server -VmId $VmId)
    foreach ($vm in $found) { if ([string] $vm.HostName -eq $Source) { return $vm } }
    if ($found.Count -gt 0) { return $found[0] }
    throw (New-VmfStale -Code 'gone' -Message "$VmId is gone: $(Get-VmfShortName -Name $Source) has no such VM")
}

# The host as people say it: hv01 for hv01.corp.example.
function Get-VmfShortName {
    param([string] $Name)
    ($Name -split '\.', 2)[0]
}

# Stale, once the time until which the caller's decision holds has passed on this clock.
function Assert-VmfInTime {
    param($Vm, [string] $NotAfter)
    $culture = [System.Globalization.CultureInfo]::InvariantCulture
    $until = [datetimeoffset]::MinValue
    $style = [System.Globalization.DateTimeStyles]::AssumeUniversal
    if (-not [datetimeoffset]::TryParse($NotAfter, $culture, $style, [ref] $until)) {
        throw (New-VmfError -Class 'refused' -Code 'contract' -Message "NotAfter is no time: $NotAfter")
    }
    $late = ((Get-Date).ToUniversalTime() - $until.UtcDateTime).TotalSeconds
    if ($late -le 0) { return }
    $seconds = $late.ToString('0', $culture)
    throw (New-VmfStale -Code 'deadline' -Message "The call for $($Vm.Name) came $seconds s after its deadline")
}

# Stale, unless the VM is on the source, of that power, and nobody moves it.
function Assert-VmfUnchanged {
    param($Server, $Vm, [string] $Source, [string] $Power)
    $name = [string] $Vm.Name
    Assert-VmfNotMigrating -Server $Server -Vm $Vm
    $migrating = ([string] $Vm.Status) -eq 'UnderMigration' -or
        (Get-VmfProperty -InputObject $Vm -Name 'IsUndergoingLiveMigration' -Default $false)
    if ($migrating) { throw (New-VmfStale -Code 'migrating' -Message "A migration of $name runs already") }
    if ([string] $Vm.HostName -ne $Source) {
        $there = 'no host'
        if ($Vm.HostName) { $there = Get-VmfShortName -Name $Vm.HostName }
        throw (New-VmfStale -Code 'elsewhere' -Message "$name is not on $(Get-VmfShortName -Name $Source): VMM shows it on $there")
    }
    $state = Get-VmfPowerWord -Vm $Vm
    $class = 'changing'
    if ($state -eq 'Running') { $class = 'running' }
    if (@('Off', 'Saved', 'Paused') -contains $state) { $class = 'down' }
    if ($class -ne $Power) { throw (New-VmfStale -Code 'power' -Message "$name is $state, not $Power") }
}

# Stale, where a job moves this VM right now.
function Assert-VmfNotMigrating {
    param($Server, $Vm)
    foreach ($job in (Get-SCJob -VMMServer $Server -Running)) {
        if ([string] $job.CmdletName -ne 'Move-SCVirtualMachine') { continue }
        if (@([string] $job.ResultObjectID, [string] $job.TargetObjectID) -notcontains [string] $Vm.ID) { continue }
        throw (New-VmfStale -Code 'migrating' -Message "A migration of $($Vm.Name) runs already")
    }
}

# Running, Off, Saved, Paused or Other: what the hypervisor says, under VMM's own status.
function Get-VmfPowerWord {
    param($Vm)
    $word = [string] (Get-VmfProperty -InputObject $Vm -Name 'VirtualMachineState' -Default $Vm.Status)
    if ($word -eq 'PowerOff') { return 'Off' }
    if (@('Running', 'Saved', 'Paused') -contains $word) { return $word }
    'Other'
}

# Queue the connections of these adapters into a job group; says whether there were any.
# An adapter that is gone meanwhile is left out: comparing after the move tells it. So is a subnet
# or port classification that VMM does not know any more: no reason not to move. VLAN 0 leaves
# a VLAN alone that VMM itself models: on logical switches Hyper-V shows VMM's VLANs as isolation.
function Set-VmfPin {
    param($Server, $Vm, [string] $Pin, [guid] $JobGroup)
    $pins = ConvertFrom-Json -InputObject $Pin
    $there = @(foreach ($one in (Get-SCVirtualNetworkAdapter -VMMServer $Server -VM $Vm)) { $one })
    $any = $false
    foreach ($wanted in $pins) {
        $adapter = Select-VmfAdapter -Adapters $there -IdProperty 'DeviceID' -Wanted $wanted
        foreach ($name in @('network', 'switch', 'subnet', 'classification', 'vlan')) {
            $null = Get-VmfField -InputObject $wanted -Name $name
        }
        if ($null -eq $adapter) { continue }
        $change = Get-VmfConnectionChange -Server $Server -Adapter $adapter -Wanted $wanted -KnownOnly
        $vlan = Get-VmfField -InputObject $wanted -Name 'vlan'
        if ($null -ne $vlan) {
            if ($vlan -eq 0 -and $adapter.VLanEnabled) { $vlan = [int] $adapter.VLanID }
            Add-VmfVlanChange -Change $change -Vlan $vlan
        }
        $null = Set-SCVirtualNetworkAdapter -VirtualNetworkAdapter $adapter -JobGroup $JobGroup @change
        $any = $true
    }
    $any
}

# The id of the job that VMM put into this variable, or null after a second.
# Asked through the session state: in which scope VMM sets it is not documented, nor when.
function Wait-VmfJobVariable {
    param([string] $Name)
    $variables = $ExecutionContext.SessionState.PSVariable
    for ($try = 0; $try -lt 5; $try++) {
        $job = $variables.GetValue($Name)
        if ($null -ne $job) {
            $variables.Remove($Name)
            return [string] $job.ID
        }
        Start-Sleep -Milliseconds 200
    }
    $null
}

# The id of the VM's most recent job, if that is a migration and began after Before; else null.
# The move was accepted by now: nothing that goes wrong here may look like a refusal.
function Find-VmfLatestMove {
    param($Server, $Vm, [string] $Before)
    try {
        foreach ($now in (Get-SCVirtualMachine -VMMServer $Server -ID ([guid] $Vm.ID))) {
            $latest = [string] $now.MostRecentTaskID
            if ($latest.Length -eq 0 -or $latest -eq $Before -or [guid] $latest -eq [guid]::Empty) { continue }
            foreach ($job in (Get-SCJob -VMMServer $Server -ID ([guid] $latest))) {
                if ([string] $job.CmdletName -eq 'Move-SCVirtualMachine') { return [string] $job.ID }
            }
        }
    }
    catch { return $null }
    $null
}
#endregion

#region After a failure
function Clear-VmfFailedJob {
    <#
    .SYNOPSIS
    Drop VMM's failed job on a VM, then have VMM re-read it. Idempotent.
    .OUTPUTS
    One JSON text; data is {}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The Hyper-V id of the VM.
        [Parameter(Mandatory = $true)] [string] $VmId,
        # The VMM server as seen from here.
        [string] $VmmServer = 'localhost',
        # Its port for commands.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $vm = Find-VmfOnlyVm -Server $server -VmId $VmId
        if ([string] $vm.Status -notlike '*Failed') {
            # Dismissing where nothing failed is an error in VMM, and none here; but look first.
            $null = Read-SCVirtualMachine -VM $vm
            $vm = Find-VmfOnlyVm -Server $server -VmId $VmId
        }
        if ([string] $vm.Status -like '*Failed') {
            $null = Repair-SCVirtualMachine -VM $vm -Dismiss -Force
            $null = Read-SCVirtualMachine -VM $vm
        }
        ConvertTo-VmfReply -Data ([ordered]@{})
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

function Update-VmfVm {
    <#
    .SYNOPSIS
    Have VMM re-read a VM. Idempotent.
    .OUTPUTS
    One JSON text; data is {}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The Hyper-V id of the VM.
        [Parameter(Mandatory = $true)] [string] $VmId,
        # The VMM server as seen from here.
        [string] $VmmServer = 'localhost',
        # Its port for commands.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $found = @(Find-VmfVm -Server $server -VmId $VmId)
        if ($found.Count -eq 0) { $null = Find-VmfOnlyVm -Server $server -VmId $VmId }
        foreach ($vm in $found) { $null = Read-SCVirtualMachine -VM $vm }
        ConvertTo-VmfReply -Data ([ordered]@{})
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

function Stop-VmfJob {
    <#
    .SYNOPSIS
    Ask VMM to stop a job. Idempotent: a job that is over, or unknown by now, is no error.
    .OUTPUTS
    One JSON text; data is {}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The id of the job.
        [Parameter(Mandatory = $true)] [string] $JobId,
        # The VMM server as seen from here.
        [string] $VmmServer = 'localhost',
        # Its port for commands.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $guid = [guid]::Empty
        if (-not [guid]::TryParse($JobId, [ref] $guid)) {
            throw (New-VmfError -Class 'refused' -Code 'contract' -Message "JobId is no GUID: $JobId")
        }
        foreach ($job in (Find-VmfJob -Server $server -Id $guid)) {
            if (-not $job.IsCompleted) { $null = Stop-SCJob -Job $job }
        }
        ConvertTo-VmfReply -Data ([ordered]@{})
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}
#endregion
