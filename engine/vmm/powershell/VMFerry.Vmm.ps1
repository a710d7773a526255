# VMFerry.Vmm: functions for a VMM server. VMFerry.Shared.ps1 precedes this text.
#
# Only SC names are used: VMM's console makes Get-VM an alias of Get-SCVirtualMachine. Functions with
# NotAfter return errors of the class stale: the state is not as the caller saw it, and nothing was done.

$script:VmfConnection = $null
$script:VmfConnectedTo = ''
# Hyper-V id -> VMM's own ids, from the last lists of VMs. A hint that is always checked.
$script:VmfKnown = @{}
# VMM's own id -> Hyper-V id, which a VM keeps.
$script:VmfHyperVIds = @{}
# Full names of VMM's hosts from the last list of them; null: not listed yet.
$script:VmfHostNames = $null
# Running jobs that name no host of that list.
$script:VmfPuzzles = @()

#region Connection and look-up
# The connection to VMM, kept for the life of this shell or until an error that may be the connection's.
function Connect-VmfServer {
    param([string] $VmmServer, [int] $Port)
    $wanted = "${VmmServer}:${Port}"
    if ($null -ne $script:VmfConnection -and $script:VmfConnectedTo -eq $wanted) { return $script:VmfConnection }
    if ($script:VmfConnectedTo -ne $wanted) {
        $script:VmfKnown, $script:VmfHyperVIds = @{}, @{}
        $script:VmfHostNames, $script:VmfPuzzles = $null, @()
    }
    try {
        if ($null -eq (Get-Module -Name 'virtualmachinemanager')) {
            Import-Module -Name 'virtualmachinemanager' -DisableNameChecking
        }
        $script:VmfConnection = Get-SCVMMServer -ComputerName $VmmServer -TCPPort $Port
        $script:VmfConnectedTo = $wanted
    }
    catch {
        # For every error number: without a connection VMM was not asked anything.
        $said = ConvertTo-VmfSentence -Message $_.Exception.Message
        throw (New-VmfError -Class 'unavailable' -Code 'connect' -Message $said)
    }
    $script:VmfConnection
}

# As ConvertTo-VmfFailure, but drop a connection that may be dead. A dead one can show itself by any number
# or none, so only our own refusals and VMM's busy and locked prove that it lives.
function ConvertTo-VmfServerFailure {
    param([System.Management.Automation.ErrorRecord] $ErrorRecord)
    $class = Get-VmfErrorClass -ErrorRecord $ErrorRecord
    $alive = ([string] $ErrorRecord.FullyQualifiedErrorId) -match '^Vmf\.(refused|stale|busy|locked)\.'
    if (-not $alive -and @('locked', 'busy') -notcontains $class) { $script:VmfConnection = $null }
    ConvertTo-VmfFailure -ErrorRecord $ErrorRecord
}

# The host with this name. An unknown host is refused.
function Find-VmfHost {
    param($Server, [string] $Name)
    foreach ($vmHost in (Get-SCVMHost -VMMServer $Server -ComputerName $Name)) {
        if ([string] $vmHost.Name -eq $Name) { return $vmHost }
    }
    throw (New-VmfError -Class 'refused' -Code 'not_found' -Message "VMM knows no host $Name")
}

# Tell whether this VM is a replica, which has the same Hyper-V id as the VM that it copies.
function Test-VmfReplica {
    param($Vm)
    (Get-VmfProperty -InputObject $Vm -Name 'IsRecoveryVM' -Default $false) -or
    (Get-VmfProperty -InputObject $Vm -Name 'IsTestReplicaVM' -Default $false)
}

# The Hyper-V id of a VM, else VMM's own id (of a VM stored in a library).
function Get-VmfVmId {
    param($Vm)
    $id = ConvertTo-VmfId -Id $Vm.VMId
    if ($id.Length -eq 0) { return ConvertTo-VmfId -Id $Vm.ID }
    $id
}

# All VMs that VMM knows. Remember their ids.
function Get-VmfVmList {
    param($Server)
    $vms = @(foreach ($vm in (Get-SCVirtualMachine -VMMServer $Server -All)) { $vm })
    $script:VmfKnown = @{}
    foreach ($vm in $vms) {
        Add-VmfKnownVm -Vm $vm
        $vm
    }
}

# Remember VMM's own id of a VM by its Hyper-V id, and the reverse.
function Add-VmfKnownVm {
    param($Vm)
    $id = Get-VmfVmId -Vm $Vm
    $object = [guid] $Vm.ID
    if ($script:VmfKnown[$id] -notcontains $object) { $script:VmfKnown[$id] += @($object) }
    # A stored VM gets a Hyper-V id only when it comes to a host.
    if ((ConvertTo-VmfId -Id $Vm.VMId).Length -gt 0) { $script:VmfHyperVIds[[string] $object] = $id }
}

# The VMs with this Hyper-V id, usually one, without stored VMs and replicas.
# VMM has no query for a Hyper-V id. The ids from the last list are queried and compared; all VMs are
# listed only if that finds nothing.
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

# Those of these VMs that have this Hyper-V id and are neither stored nor replicas.
function Select-VmfVm {
    param([object[]] $Vms, [string] $VmId)
    foreach ($vm in $Vms) {
        if ($null -eq $vm -or (Get-VmfVmId -Vm $vm) -ne $VmId) { continue }
        if ([string] $vm.Status -eq 'Stored' -or (Test-VmfReplica -Vm $vm)) { continue }
        $vm
    }
}

#endregion

#region Version
function Get-VmfVersion {
    <#
    .SYNOPSIS
    Read the installed versions of this module, PowerShell and VMM.
    .OUTPUTS
    One JSON text; data is {module, powershell, vmm}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The VMM server, as this machine reaches it.
        [string] $VmmServer = 'localhost',
        # Its command port.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        ConvertTo-VmfReply -Data ([ordered]@{
                module     = '2'
                powershell = [string] $PSVersionTable.PSVersion
                vmm        = [string] (Get-VmfProperty -InputObject $server -Name 'ProductVersion' -Default '')
            })
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

#endregion

#region Hosts, VMs and jobs as rows
# One host as VMM knows it.
function ConvertTo-VmfHost {
    param($VmHost)
    $name = [string] $VmHost.Name
    $responds = ([string] $VmHost.CommunicationState) -eq 'Responding'
    $problem = $null
    if (-not $responds) { $problem = "VMM's agent on $name is $($VmHost.CommunicationState)" }
    # Which of the two shows maintenance depends on the version. MaintenanceHost means something else.
    $states = @([string] $VmHost.ComputerState, [string] $VmHost.OverallState)
    [ordered]@{
        name           = $name
        live_limit     = [int] $VmHost.LiveMigrationMaximum
        storage_limit  = [int] $VmHost.LiveStorageMigrationMaximum
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

# Free memory for VMs in MB, without the host's reserve; null if VMM does not know it.
function Get-VmfFreeMemory {
    param($VmHost)
    $free = Get-VmfProperty -InputObject $VmHost -Name 'AvailableMemory' -Default $null
    if ($null -eq $free) { return $null }
    $reserve = Get-VmfProperty -InputObject $VmHost -Name 'MemoryReserveMB' -Default 0
    [math]::Max([long] 0, [long] $free - [long] $reserve)
}

# The volumes of a host with the free MB for VMs; null if VMM does not know them.
# All of them or none: an omitted volume would look like a missing one.
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

# One VM as VMM knows it. The host of a stored VM is its library server.
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
    $where = ConvertTo-VmfText -Value $Vm.HostName
    $library = Get-VmfProperty -InputObject $Vm -Name 'LibraryServer' -Default $null
    if (([string] $Vm.Status) -eq 'Stored' -and $null -ne $library) { $where = [string] $library.Name }
    [ordered]@{
        id        = Get-VmfVmId -Vm $Vm
        name      = [string] $Vm.Name
        host      = $where
        status    = [string] $Vm.Status
        memory_mb = [int] $Vm.Memory
        disk_mb   = [long] [math]::Floor(([double] $Vm.TotalSize) / 1048576)
        adapters  = @(foreach ($adapter in $Vm.VirtualNetworkAdapters) { $adapter }).Count
        stored    = ([string] $Vm.Status) -eq 'Stored'
        replica   = $replica
        blocks    = [object[]] $blocks
    }
}

# The job with this id, or nothing if VMM does not know it (801). Any other error says nothing about the
# job, and is thrown.
function Find-VmfJob {
    param($Server, [guid] $Id)
    try { Get-SCJob -VMMServer $Server -ID $Id }
    catch { if ((Get-VmfErrorCode -ErrorRecord $_) -ne '801') { throw } }
}

# One job. vm_id is VMM's own id of the VM; Get-VmfJobs replaces it.
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

# A time of a job, or null: VMM writes DateTime's smallest value while there is none.
function ConvertTo-VmfJobTime {
    param($Date)
    if ($null -eq $Date -or ([datetime] $Date).Year -lt 1900) { return $null }
    ConvertTo-VmfTime -Date $Date
}

# running, completed, failed or canceled. An ended job with an unknown status counts as failed.
function Get-VmfJobState {
    param($Job)
    $word = [string] $Job.Status
    if (@('Completed', 'SucceedWithInfo') -contains $word) { return 'completed' }
    if ($word -eq 'Failed') { return 'failed' }
    if (@('Canceled', 'Cancelled') -contains $word) { return 'canceled' }
    if ($Job.IsCompleted) { return 'failed' }
    'running'
}

# Add full host names to a job.
# VMM fills Source and Target late, and not in every version. The job's name contains both hosts in
# that order.
function Complete-VmfJob {
    param([System.Collections.IDictionary] $Row, [string[]] $HostNames)
    $title = [string] $Row['name']
    $Row.Remove('name')
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
}

# The full name of the host with this full or short name, or null.
function Resolve-VmfHostName {
    param($Word, [string[]] $HostNames)
    if ($null -eq $Word) { return $null }
    foreach ($name in $HostNames) { if ($name -eq $Word) { return $name } }
    foreach ($name in $HostNames) { if (($name -split '\.', 2)[0] -eq $Word) { return $name } }
    $null
}
#endregion

#region Looks, each on its own
function Get-VmfJobs {
    <#
    .SYNOPSIS
    Read the running migration jobs, and the jobs with these ids, even if they have ended.
    .DESCRIPTION
    Changes nothing. server_time is the time before the jobs are read. Costs one cmdlet, and one for each
    job of Ids that is not running. A job that moves no VM has an empty vm_id. VMs and hosts are asked for
    only if this shell does not remember them. unread: {id, error, code} of each job that VMM refused
    to read.
    .OUTPUTS
    One JSON text; data is {server_time, jobs, unknown, unread}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # Ids of jobs. Those that VMM does not know are returned as unknown.
        [AllowNull()] [AllowEmptyCollection()] [AllowEmptyString()] [string[]] $Ids = @(),
        # The VMM server, as this machine reaches it.
        [string] $VmmServer = 'localhost',
        # Its command port.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $time = ConvertTo-VmfTime -Date (Get-Date)
        $list = Read-VmfJobList -Server $server -Ids $Ids
        $moves = @(foreach ($job in $list['jobs']) { if (Test-VmfMove -Job $job) { ConvertTo-VmfJob -Job $job } })
        $others = @(foreach ($job in $list['jobs']) { if (-not (Test-VmfMove -Job $job)) { ConvertTo-VmfOtherJob -Job $job } })
        $names = @(Get-VmfHostNameList -Server $server -Rows $moves)
        foreach ($row in $moves) {
            $row['vm_id'] = Resolve-VmfVmId -Server $server -ObjectId ([string] $row['vm_id'])
            Complete-VmfJob -Row $row -HostNames $names
        }
        $rows = [object[]]@($moves + $others)
        ConvertTo-VmfReply -Data ([ordered]@{
                server_time = $time
                jobs        = $rows
                unknown     = [object[]] $list['unknown']
                unread      = [object[]] $list['unread']
            })
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

# {jobs, unknown, unread}: the running migrations, the jobs with these ids, the ids that VMM does not know,
# and those that it refused to read.
function Read-VmfJobList {
    param($Server, [string[]] $Ids)
    $wanted = [ordered]@{}
    $unknown = [System.Collections.ArrayList]@()
    $unread = [System.Collections.ArrayList]@()
    foreach ($id in $Ids) {
        $guid = [guid]::Empty
        if ([guid]::TryParse($id, [ref] $guid)) { $wanted[[string] $guid] = $id }
        else { $null = $unknown.Add($id) }
    }
    $jobs = [System.Collections.ArrayList]@()
    foreach ($job in (Get-SCJob -VMMServer $Server -Running)) {
        $key = [string] $job.ID
        if ($wanted.Contains($key) -or (Test-VmfMove -Job $job)) { $null = $jobs.Add($job) }
        $wanted.Remove($key)
    }
    foreach ($key in @($wanted.Keys)) {
        try { $found = @(Find-VmfJob -Server $Server -Id ([guid] $key)) }
        catch {
            if (-not (Test-VmfRefusal -ErrorRecord $_)) { throw }
            $null = $unread.Add([ordered]@{
                    id    = $wanted[$key]
                    error = ConvertTo-VmfSentence -Message ([string] $_.Exception.Message)
                    code  = Get-VmfErrorCode -ErrorRecord $_
                })
            continue
        }
        if ($found.Count -eq 0) { $null = $unknown.Add($wanted[$key]) }
        foreach ($job in $found) { $null = $jobs.Add($job) }
    }
    @{ jobs = $jobs.ToArray(); unknown = $unknown.ToArray(); unread = $unread.ToArray() }
}

# Tell whether a job moves a VM.
function Test-VmfMove {
    param($Job)
    [string] $Job.CmdletName -eq 'Move-SCVirtualMachine'
}

# A job that moves no VM, such as a re-read.
function ConvertTo-VmfOtherJob {
    param($Job)
    $row = ConvertTo-VmfJob -Job $Job
    $row.Remove('name')
    $row['vm_id'] = ''
    $row['source'], $row['target'] = $null, $null
    $row
}

# The Hyper-V id of the VM with this id of VMM's own. VMM is asked once. If there is no such VM, it is
# VMM's own id.
function Resolve-VmfVmId {
    param($Server, [string] $ObjectId)
    if ($script:VmfHyperVIds.ContainsKey($ObjectId)) { return $script:VmfHyperVIds[$ObjectId] }
    $id = ConvertTo-VmfId -Id $ObjectId
    $guid = [guid]::Empty
    if (-not [guid]::TryParse($ObjectId, [ref] $guid)) { return $id }
    try { $found = @(foreach ($vm in (Get-SCVirtualMachine -VMMServer $Server -ID $guid)) { $vm }) }
    catch {
        if (-not (Test-VmfRefusal -ErrorRecord $_)) { throw }
        return $id
    }
    if ($found.Count -eq 0) {
        $script:VmfHyperVIds[$ObjectId] = $id
        return $id
    }
    Add-VmfKnownVm -Vm $found[0]
    Get-VmfVmId -Vm $found[0]
}

# The full names of the hosts, for these jobs. They are listed once, and again if there is a running job
# that names a host that is not among them, or not both of its hosts, and was not there the last time.
function Get-VmfHostNameList {
    param($Server, [object[]] $Rows)
    if ($Rows.Count -eq 0) { return }
    $listed = $null -eq $script:VmfHostNames
    if ($listed) { Update-VmfHostNameList -Server $Server }
    $puzzles = @(foreach ($row in $Rows) {
            if ($row['state'] -ne 'running' -or (Test-VmfNamedHost -Row $row)) { continue }
            "$($row['id']) $($row['source']) $($row['target']) $($row['name'])"
        })
    $new = @(foreach ($one in $puzzles) { if ($script:VmfPuzzles -notcontains $one) { $one } })
    $script:VmfPuzzles = $puzzles
    if ($new.Count -gt 0 -and -not $listed) { Update-VmfHostNameList -Server $Server }
    $script:VmfHostNames
}

# List the hosts and remember their names.
function Update-VmfHostNameList {
    param($Server)
    $script:VmfHostNames = @(foreach ($vmHost in (Get-SCVMHost -VMMServer $Server)) { [string] $vmHost.Name })
}

# Tell whether this shell remembers each host that a job names: a host may be new at VMM.
function Test-VmfNamedHost {
    param([System.Collections.IDictionary] $Row)
    $words = @(foreach ($end in @('source', 'target')) { if (([string] $Row[$end]).Length -gt 0) { [string] $Row[$end] } })
    foreach ($word in $words) {
        if ($null -eq (Resolve-VmfHostName -Word $word -HostNames $script:VmfHostNames)) { return $false }
    }
    if ($words.Count -gt 0) { return $true }
    $named = @(foreach ($name in $script:VmfHostNames) {
            if (([string] $Row['name']).IndexOf($name, [System.StringComparison]::OrdinalIgnoreCase) -ge 0) { $name }
        })
    $named.Count -ge 2
}

function Get-VmfInventory {
    <#
    .SYNOPSIS
    Read one host and its VMs from VMM's database. An unknown host is refused.
    .DESCRIPTION
    Changes nothing, re-reads nothing, and takes no locks.
    .OUTPUTS
    One JSON text; data is {host, vms}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The full name of the host.
        [Parameter(Mandatory = $true)] [string] $HostName,
        # The VMM server, as this machine reaches it.
        [string] $VmmServer = 'localhost',
        # Its command port.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $vmHost = Find-VmfHost -Server $server -Name $HostName
        $row = ConvertTo-VmfHost -VmHost $vmHost
        $vms = [object[]]@(foreach ($vm in (Get-SCVirtualMachine -VMMServer $server -VMHost $vmHost)) {
                Add-VmfKnownVm -Vm $vm
                ConvertTo-VmfVm -Vm $vm
            })
        ConvertTo-VmfReply -Data ([ordered]@{ host = $row; vms = $vms })
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

function Get-VmfSite {
    <#
    .SYNOPSIS
    Read all hosts, and the VMs that are on none of them, from VMM's database.
    .DESCRIPTION
    Changes nothing, re-reads nothing, and takes no locks.
    .OUTPUTS
    One JSON text; data is {hosts, vms}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The VMM server, as this machine reaches it.
        [string] $VmmServer = 'localhost',
        # Its command port.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $hostRows = [object[]]@(foreach ($vmHost in (Get-SCVMHost -VMMServer $server)) {
                ConvertTo-VmfHost -VmHost $vmHost
            })
        $names = @(foreach ($row in $hostRows) { $row['name'] })
        $vmRows = [object[]]@(foreach ($vm in (Get-VmfVmList -Server $server)) {
                if ($names -contains [string] $vm.HostName -and [string] $vm.Status -ne 'Stored') { continue }
                ConvertTo-VmfVm -Vm $vm
            })
        ConvertTo-VmfReply -Data ([ordered]@{ hosts = $hostRows; vms = $vmRows })
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}
#endregion

#region Networks
function Get-VmfNetwork {
    <#
    .SYNOPSIS
    Read VMM's model of the adapters of these VMs. VMs that VMM does not know are omitted.
    .OUTPUTS
    One JSON text; data is {vms}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # Hyper-V ids of VMs.
        [Parameter(Mandatory = $true)] [AllowEmptyCollection()] [AllowEmptyString()] [string[]] $VmIds,
        # The VMM server, as this machine reaches it.
        [string] $VmmServer = 'localhost',
        # Its command port.
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

# The name of an object, or null.
function Get-VmfName {
    param($Named)
    if ($null -eq $Named) { return $null }
    ConvertTo-VmfText -Value $Named.Name
}

# The parameters that connect an adapter as wanted: VM network, switch, subnet and port classification.
# Network and switch are passed together if both are known: in VMM 2016 a switch alone removed the
# network. VMM accepts a subnet or classification only together with a connection. If the network stays
# the same, its subnet and port classification are kept.
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

# The object with exactly this name. None or several are refused, or return nothing with Optional.
function Find-VmfNamed {
    param([object[]] $Objects, [string] $Name, [string] $Kind, [string] $Code, [switch] $Optional)
    $found = @(foreach ($one in $Objects) { if ([string] $one.Name -eq $Name) { $one } })
    if ($found.Count -eq 1) { return $found[0] }
    if ($Optional) { return $null }
    $count = "no $Kind"
    if ($found.Count -gt 1) { $count = "several ${Kind}s" }
    throw (New-VmfError -Class 'refused' -Code $Code -Message "VMM knows $count named '$Name'")
}

# Add subnet and port classification to a change by name, if it does not have them. With KnownOnly unknown
# names are omitted. Names of subnets are unique only within their VM network.
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

function Repair-VmfModel {
    <#
    .SYNOPSIS
    Restore the settings of a VM's adapters that VMM models, if the VM is as the caller saw it. Idempotent.
    .DESCRIPTION
    VMM re-reads the VM. Then the VM must be on HostName and not be migrating, and NotAfter must not have
    passed on this server's clock. Otherwise the class is stale. The time is checked again at each adapter;
    what was restored before stays.
    .OUTPUTS
    One JSON text; data is {}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The Hyper-V id of the VM.
        [Parameter(Mandatory = $true)] [string] $VmId,
        # The full name of the host where the VM must be.
        [Parameter(Mandatory = $true)] [string] $HostName,
        # JSON text: [{id, mac, network, subnet, switch, vlan, classification, port_acl}]; null changes
        # nothing, VLAN 0 is untagged. An adapter is found by id, else by its MAC if unique and not zero.
        [Parameter(Mandatory = $true)] [string] $Adapters,
        # ISO 8601: the end of validity of the caller's decision.
        [Parameter(Mandatory = $true)] [string] $NotAfter,
        # The VMM server, as this machine reaches it.
        [string] $VmmServer = 'localhost',
        # Its command port.
        [int] $Port = 8100
    )
    try {
        $wanted = ConvertFrom-Json -InputObject $Adapters
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $vm = Find-VmfVmOn -Server $server -VmId $VmId -HostName $HostName
        Assert-VmfInTime -Name $vm.Name -NotAfter $NotAfter
        # Also before the refresh: a migration locks its VM, which would look like any other lock.
        Assert-VmfNotMigrating -Server $server -Vm $vm
        $null = Read-SCVirtualMachine -VM $vm
        $vm = Find-VmfVmOn -Server $server -VmId $VmId -HostName $HostName
        Assert-VmfAtRest -Server $server -Vm $vm -HostName $HostName
        Set-VmfModel -Server $server -Vm $vm -Wanted $wanted -NotAfter $NotAfter
        ConvertTo-VmfReply -Data ([ordered]@{})
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

# Restore these adapters in VMM, each before NotAfter.
function Set-VmfModel {
    param($Server, $Vm, $Wanted, [string] $NotAfter)
    $there = @(foreach ($one in (Get-SCVirtualNetworkAdapter -VMMServer $Server -VM $Vm)) { $one })
    foreach ($repair in $Wanted) {
        $adapter = Find-VmfAdapter -Adapters $there -IdProperty 'DeviceID' -Wanted $repair -VmName $Vm.Name
        $change = Get-VmfRepairChange -Server $Server -Adapter $adapter -Repair $repair
        if ($change.Count -eq 0) { continue }
        Assert-VmfInTime -Name $Vm.Name -NotAfter $NotAfter
        $null = Set-SCVirtualNetworkAdapter -VirtualNetworkAdapter $adapter @change
    }
}

# The parameters that restore on an adapter what the caller names, and nothing else.
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
    Compare and start: move a VM, if its state is still as the caller saw it.
    .DESCRIPTION
    VMM re-reads the VM. Then the VM must be on Source, have this power class and not be migrating, and
    this server's clock must be between NotBefore and NotAfter. Otherwise nothing is done and the class is
    stale. Without a free slot on a host the move fails instead of being queued. Returns while the job
    runs. Not idempotent. Never starts the VM, never discards its saved state.
    .OUTPUTS
    One JSON text; data is {job}, the id of the job, or null if VMM did not name it.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The Hyper-V id of the VM.
        [Parameter(Mandatory = $true)] [string] $VmId,
        # The full name of the host where the VM must be.
        [Parameter(Mandatory = $true)] [string] $Source,
        # The full name of the destination host.
        [Parameter(Mandatory = $true)] [string] $Destination,
        # A folder on the destination. Empty: the first default path of that host.
        [AllowNull()] [AllowEmptyString()] [string] $Path,
        # running, or down (off, saved or paused).
        [Parameter(Mandatory = $true)] [ValidateSet('running', 'down')] [string] $Power,
        # JSON text: [{id, mac, network, subnet, switch, vlan, classification}], the adapters to bind into
        # the job of a powered-down VM. VLAN null binds none (a trunk). Adapters and move form one job group.
        [AllowNull()] [AllowEmptyString()] [string] $Pin,
        # ISO 8601: the end of validity of the caller's decision.
        [Parameter(Mandatory = $true)] [string] $NotAfter,
        # ISO 8601: the begin of its validity. Empty: it is valid at once.
        [AllowNull()] [AllowEmptyString()] [string] $NotBefore,
        # The VMM server, as this machine reaches it.
        [string] $VmmServer = 'localhost',
        # Its command port.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $null = Find-VmfHost -Server $server -Name $Source
        $target = Find-VmfHost -Server $server -Name $Destination
        $vm = Find-VmfVmOn -Server $server -VmId $VmId -HostName $Source
        Assert-VmfInTime -Name $vm.Name -NotAfter $NotAfter -NotBefore $NotBefore
        # Also before the refresh: a migration locks its VM, which would look like any other lock.
        Assert-VmfNotMigrating -Server $server -Vm $vm
        $null = Read-SCVirtualMachine -VM $vm
        $vm = Find-VmfVmOn -Server $server -VmId $VmId -HostName $Source
        Assert-VmfUnchanged -Server $server -Vm $vm -Source $Source -Power $Power
        $move = @{ VM = $vm; VMHost = $target }
        if (-not $Path) { $Path = Get-VmfDefaultPath -VmHost $target }
        if ($Path) { $move['Path'] = $Path }
        if ($Power -eq 'down' -and $Pin) {
            $group = [guid]::NewGuid()
            if (Set-VmfPin -Server $server -Vm $vm -Pin $Pin -JobGroup $group) { $move['JobGroup'] = $group }
        }
        # The checks and the pin took time. Commands of a job group that never runs have no effect.
        Assert-VmfInTime -Name $vm.Name -NotAfter $NotAfter -NotBefore $NotBefore
        $before = [string] $vm.MostRecentTaskID
        $name = 'vmfJob' + [guid]::NewGuid().ToString('N')
        $null = Move-SCVirtualMachine @move -BlockLiveMigrationIfHostBusy -RunAsynchronously -JobVariable $name
        $job = Wait-VmfJobVariable -Name $name
        if ($null -eq $job) { $job = Find-VmfLatestMove -Server $server -Vm $vm -Before $before }
        ConvertTo-VmfReply -Data ([ordered]@{ job = $job })
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

# The VM with this Hyper-V id: the one on this host if VMM shows several. None is stale.
function Find-VmfVmOn {
    param($Server, [string] $VmId, [string] $HostName)
    $found = @(Find-VmfVm -Server $Server -VmId $VmId)
    foreach ($vm in $found) { if ([string] $vm.HostName -eq $HostName) { return $vm } }
    if ($found.Count -gt 0) { return $found[0] }
    throw (New-VmfStale -Code 'gone' -Message "$VmId is gone: $(Get-VmfShortName -Name $HostName) has no such VM")
}

# The short name of a host: hv01 for hv01.corp.example.
function Get-VmfShortName {
    param([string] $Name)
    ($Name -split '\.', 2)[0]
}

# Throw stale unless the VM is on the source, has this power class and is not migrating.
function Assert-VmfUnchanged {
    param($Server, $Vm, [string] $Source, [string] $Power)
    Assert-VmfAtRest -Server $Server -Vm $Vm -HostName $Source
    $state = Get-VmfPowerWord -Vm $Vm
    $class = 'changing'
    if ($state -eq 'Running') { $class = 'running' }
    if (@('Off', 'Saved', 'Paused') -contains $state) { $class = 'down' }
    if ($class -ne $Power) { throw (New-VmfStale -Code 'power' -Message "$($Vm.Name) is $state, not $Power") }
}

# Throw stale unless the VM is on this host and not migrating.
function Assert-VmfAtRest {
    param($Server, $Vm, [string] $HostName)
    $name = [string] $Vm.Name
    Assert-VmfNotMigrating -Server $Server -Vm $Vm
    $migrating = ([string] $Vm.Status) -eq 'UnderMigration' -or
        (Get-VmfProperty -InputObject $Vm -Name 'IsUndergoingLiveMigration' -Default $false)
    if ($migrating) { throw (New-VmfStale -Code 'migrating' -Message "A migration of $name is already running") }
    if ([string] $Vm.HostName -eq $HostName) { return }
    $there = 'no host'
    if ($Vm.HostName) { $there = Get-VmfShortName -Name $Vm.HostName }
    throw (New-VmfStale -Code 'elsewhere' -Message "$name is not on $(Get-VmfShortName -Name $HostName): VMM shows it on $there")
}

# Throw stale if a job moves this VM now.
function Assert-VmfNotMigrating {
    param($Server, $Vm)
    foreach ($job in (Get-SCJob -VMMServer $Server -Running)) {
        if (-not (Test-VmfMove -Job $job)) { continue }
        if (@([string] $job.ResultObjectID, [string] $job.TargetObjectID) -notcontains [string] $Vm.ID) { continue }
        throw (New-VmfStale -Code 'migrating' -Message "A migration of $($Vm.Name) is already running")
    }
}

# Throw stale unless VMM's most recent job about this VM has ended. VMM may not know it any more.
function Assert-VmfTaskEnded {
    param($Server, $Vm)
    $latest = [string] $Vm.MostRecentTaskID
    if ($latest.Length -eq 0 -or [guid] $latest -eq [guid]::Empty) { return }
    foreach ($job in @(Find-VmfJob -Server $Server -Id ([guid] $latest))) {
        if ((Get-VmfJobState -Job $job) -ne 'running') { continue }
        throw (New-VmfStale -Code 'busy' -Message "VMM's latest job about $($Vm.Name) has not ended")
    }
}

# Running, Off, Saved, Paused or Other: the hypervisor's state, which VMM's own status may hide.
function Get-VmfPowerWord {
    param($Vm)
    $word = [string] (Get-VmfProperty -InputObject $Vm -Name 'VirtualMachineState' -Default $Vm.Status)
    if ($word -eq 'PowerOff') { return 'Off' }
    if (@('Running', 'Saved', 'Paused') -contains $word) { return $word }
    'Other'
}

# Queue the connections of these adapters into a job group. Return whether there were any.
# An adapter that is gone by now is omitted: the comparison after the move reports it. A subnet or port
# classification that VMM no longer knows is omitted, too: it is no reason not to move. VLAN 0 keeps a
# VLAN that VMM itself models: on logical switches Hyper-V shows VMM's VLANs as isolation.
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
# Read through the session state, because the scope and time at which VMM sets it are not documented.
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

# The id of the VM's most recent job, if that is a migration and not the job Before; else null.
# The move has already been accepted, so an error here must not look like a refusal.
function Find-VmfLatestMove {
    param($Server, $Vm, [string] $Before)
    try {
        foreach ($now in (Get-SCVirtualMachine -VMMServer $Server -ID ([guid] $Vm.ID))) {
            $latest = [string] $now.MostRecentTaskID
            if ($latest.Length -eq 0 -or $latest -eq $Before -or [guid] $latest -eq [guid]::Empty) { continue }
            foreach ($job in (Get-SCJob -VMMServer $Server -ID ([guid] $latest))) {
                if (Test-VmfMove -Job $job) { return [string] $job.ID }
            }
        }
    }
    catch { return $null }
    $null
}
#endregion

#region After a failure
function Clear-VmfFailure {
    <#
    .SYNOPSIS
    Drop VMM's failed job on a VM, if the VM is as the caller saw it. Idempotent.
    .DESCRIPTION
    The VM must be on HostName and not be migrating, its most recent job must have ended, and NotAfter must
    not have passed on this server's clock. Otherwise nothing is done and the class is stale. Directly
    before the change all of this is checked again. A VM without a failed job is left alone. Nothing is re-read.
    .OUTPUTS
    One JSON text; data is {}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The Hyper-V id of the VM.
        [Parameter(Mandatory = $true)] [string] $VmId,
        # The full name of the host where the VM must be.
        [Parameter(Mandatory = $true)] [string] $HostName,
        # ISO 8601: the end of validity of the caller's decision.
        [Parameter(Mandatory = $true)] [string] $NotAfter,
        # The VMM server, as this machine reaches it.
        [string] $VmmServer = 'localhost',
        # Its command port.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $place = @{ Server = $server; HostName = $HostName }
        foreach ($time in 1..2) {
            $vm = Find-VmfVmOn @place -VmId $VmId
            Assert-VmfAtRest @place -Vm $vm
            Assert-VmfTaskEnded -Server $server -Vm $vm
            Assert-VmfInTime -Name $vm.Name -NotAfter $NotAfter
            if ([string] $vm.Status -notlike '*Failed') { return ConvertTo-VmfReply -Data ([ordered]@{}) }
        }
        $null = Repair-SCVirtualMachine -VM $vm -Dismiss -Force
        ConvertTo-VmfReply -Data ([ordered]@{})
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

function Start-VmfReread {
    <#
    .SYNOPSIS
    Make VMM re-read a host or a VM in a job of its own, for which nobody waits.
    .DESCRIPTION
    If NotAfter has passed on this server's clock, nothing is done and the class is stale.
    .OUTPUTS
    One JSON text; data is {job}, the id of the job, or null if VMM did not name it.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # vms: the states of all VMs of a host. vm: everything of one VM. host: the properties of a host.
        [Parameter(Mandatory = $true)] [ValidateSet('vms', 'vm', 'host')] [string] $What,
        # The full name of the host, or the Hyper-V id of the VM.
        [Parameter(Mandatory = $true)] [string] $Name,
        # ISO 8601: the end of validity of the caller's decision.
        [Parameter(Mandatory = $true)] [string] $NotAfter,
        # The VMM server, as this machine reaches it.
        [string] $VmmServer = 'localhost',
        # Its command port.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $variable = 'vmfJob' + [guid]::NewGuid().ToString('N')
        $alone = @{ RunAsynchronously = $true; JobVariable = $variable }
        if ($What -eq 'vm') { $objects = @(Find-VmfVmAnywhere -Server $server -VmId $Name) }
        else { $objects = @(Find-VmfHost -Server $server -Name $Name) }
        $cmdlet = 'Read-SCVirtualMachine'
        if ($What -eq 'host') { $cmdlet = 'Read-SCVMHost' }
        Assert-VmfInTime -Name $objects[0].Name -NotAfter $NotAfter
        $since = (Get-Date).ToUniversalTime()
        foreach ($object in $objects) {
            if ($What -eq 'vm') { $null = Read-SCVirtualMachine -VM $object @alone }
            if ($What -eq 'vms') { $null = Read-SCVirtualMachine -VMHost $object @alone }
            if ($What -eq 'host') { $null = Read-SCVMHost -VMHost $object @alone }
        }
        $job = Wait-VmfJobVariable -Name $variable
        if ($null -eq $job) { $job = Find-VmfLatestReread -Server $server -Object $objects[-1] -Cmdlet $cmdlet -Since $since }
        ConvertTo-VmfReply -Data ([ordered]@{ job = $job })
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}

# The VMs with this Hyper-V id, usually one. None is refused.
function Find-VmfVmAnywhere {
    param($Server, [string] $VmId)
    $found = @(Find-VmfVm -Server $Server -VmId $VmId)
    if ($found.Count -gt 0) { return $found }
    throw (New-VmfError -Class 'refused' -Code 'not_found' -Message "VMM knows no virtual machine $VmId")
}

# The id of the newest running job of this cmdlet on this object that began since a time, else null. One
# second less: VMM stores times less exactly than the clock. The re-read has already been accepted, so an
# error here must not look like a refusal.
function Find-VmfLatestReread {
    param($Server, $Object, [string] $Cmdlet, [datetime] $Since)
    $latest = $null
    try {
        foreach ($job in (Get-SCJob -VMMServer $Server -Running)) {
            if ([string] $job.CmdletName -ne $Cmdlet) { continue }
            if (@([string] $job.ResultObjectID, [string] $job.TargetObjectID) -notcontains [string] $Object.ID) { continue }
            if (([datetime] $job.StartTime).ToUniversalTime() -lt $Since.AddSeconds(-1)) { continue }
            if ($null -eq $latest -or $job.StartTime -gt $latest.StartTime) { $latest = $job }
        }
    }
    catch { return $null }
    if ($null -eq $latest) { return $null }
    [string] $latest.ID
}

function Stop-VmfMove {
    <#
    .SYNOPSIS
    Ask VMM to stop a job that moves a VM. Idempotent: an ended or unknown job is no error.
    .DESCRIPTION
    If NotAfter has passed on this server's clock, nothing is done and the class is stale. A running job
    that moves no VM is refused.
    .OUTPUTS
    One JSON text; data is {}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The id of the job.
        [Parameter(Mandatory = $true)] [string] $JobId,
        # ISO 8601: the end of validity of the caller's decision.
        [Parameter(Mandatory = $true)] [string] $NotAfter,
        # The VMM server, as this machine reaches it.
        [string] $VmmServer = 'localhost',
        # Its command port.
        [int] $Port = 8100
    )
    try {
        $server = Connect-VmfServer -VmmServer $VmmServer -Port $Port
        $guid = [guid]::Empty
        if (-not [guid]::TryParse($JobId, [ref] $guid)) {
            throw (New-VmfError -Class 'refused' -Code 'contract' -Message "JobId is not a GUID: $JobId")
        }
        $found = @(Find-VmfJob -Server $server -Id $guid)
        Assert-VmfInTime -Name "job $JobId" -NotAfter $NotAfter
        foreach ($job in $found) {
            if ($job.IsCompleted) { continue }
            if (-not (Test-VmfMove -Job $job)) {
                throw (New-VmfError -Class 'refused' -Code 'no_move' -Message "The job $JobId moves no virtual machine")
            }
            $null = Stop-SCJob -Job $job
        }
        ConvertTo-VmfReply -Data ([ordered]@{})
    }
    catch { ConvertTo-VmfServerFailure -ErrorRecord $_ }
}
#endregion
