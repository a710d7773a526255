# VMFerry.Host: functions for a Hyper-V host. VMFerry.Shared.ps1 precedes this text.
#
# Every cmdlet is called as Hyper-V\Name: if VMM's console is installed too, its alias Get-VM means
# Get-SCVirtualMachine, and aliases take precedence over cmdlets.

#region State of the host
function Get-VmfHostState {
    <#
    .SYNOPSIS
    Read every VM of this host as Hyper-V sees it, and the host's limits.
    .DESCRIPTION
    Changes nothing. Only Hyper-V's operational status shows a backup: VMM still reports Running.
    .OUTPUTS
    One JSON text; data is {host, time, live_limit, storage_limit, switches, vms}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param()
    try {
        $time = ConvertTo-VmfTime -Date (Get-Date)
        $vmHost = Hyper-V\Get-VMHost
        $there = @(foreach ($vm in (Hyper-V\Get-VM)) { $vm })
        $used = Get-VmfUsedSwitch -Vms $there
        $vms = [object[]]@(foreach ($vm in $there) { ConvertTo-VmfHostVm -Vm $vm -Used $used })
        ConvertTo-VmfReply -Data ([ordered]@{
                host          = Get-VmfHostName -VmHost $vmHost
                time          = $time
                live_limit    = [int] $vmHost.MaximumVirtualMachineMigrations
                storage_limit = [int] $vmHost.MaximumStorageMigrations
                switches      = Get-VmfSwitchList
                vms           = $vms
            })
    }
    catch { ConvertTo-VmfFailure -ErrorRecord $_ }
}

# The full name of this host. In some versions FullyQualifiedDomainName is only the domain.
function Get-VmfHostName {
    param($VmHost)
    $name = [string] $VmHost.Name
    $full = [string] (Get-VmfProperty -InputObject $VmHost -Name 'FullyQualifiedDomainName' -Default '')
    if ($full -eq $name -or $full.StartsWith("$name.", [System.StringComparison]::OrdinalIgnoreCase)) { return $full }
    if ($full.Contains('.') -and -not $name.Contains('.')) { return "$name.$full" }
    $name
}

# One VM: its power state and operational status in Hyper-V's own words, and its switches.
function ConvertTo-VmfHostVm {
    param($Vm, $Used)
    $said = Get-VmfProperty -InputObject $Vm -Name 'OperationalStatus' -Default @()
    $words = @(foreach ($word in $said) { [string] $word })
    if ($words.Count -eq 0) {
        $words = @(foreach ($name in @('PrimaryOperationalStatus', 'SecondaryOperationalStatus')) {
                $word = [string] (Get-VmfProperty -InputObject $Vm -Name $name -Default '')
                if ($word) { $word }
            })
    }
    $mode = [string] (Get-VmfProperty -InputObject $Vm -Name 'ReplicationMode' -Default 'None')
    $id = ConvertTo-VmfId -Id $Vm.Id
    $switches = $null
    if ($null -ne $Used) { $switches = [object[]]@(foreach ($name in $Used[$id]) { $name }) }
    [ordered]@{
        id       = $id
        name     = [string] $Vm.Name
        state    = [string] $Vm.State
        status   = [object[]] $words
        replica  = @('None', 'Primary') -notcontains $mode
        switches = $switches
    }
}

# A table from VM id to the switches of its connected adapters; null if Hyper-V refuses.
# If a VM is gone by now, the switches are omitted so that the other VMs are still reported.
function Get-VmfUsedSwitch {
    param([object[]] $Vms)
    $used = @{}
    if ($Vms.Count -eq 0) { return $used }
    try {
        foreach ($adapter in (Hyper-V\Get-VMNetworkAdapter -VM $Vms)) {
            $name = [string] $adapter.SwitchName
            if (-not $adapter.Connected -or $name.Length -eq 0) { continue }
            $id = ConvertTo-VmfId -Id $adapter.VMId
            if ($used[$id] -notcontains $name) { $used[$id] += @($name) }
        }
    }
    catch {
        if (-not (Test-VmfRefusal -ErrorRecord $_)) { throw }
        return $null
    }
    $used
}

# The names of this host's virtual switches; null if Hyper-V refuses.
function Get-VmfSwitchList {
    try { $names = [object[]]@(foreach ($one in (Hyper-V\Get-VMSwitch)) { [string] $one.Name }) }
    catch {
        if (-not (Test-VmfRefusal -ErrorRecord $_)) { throw }
        return $null
    }
    , $names
}

# The VM of this host with this id, or nothing.
# Hyper-V reports an unknown id as an invalid parameter or as a missing object, and also a stopped service
# or missing rights as a missing object: only if Hyper-V then describes the host is the VM not there.
function Find-VmfVmHere {
    param([string] $VmId)
    $guid = [guid]::Empty
    if (-not [guid]::TryParse($VmId, [ref] $guid)) { return }
    try { Hyper-V\Get-VM -Id $guid }
    catch {
        $head = (([string] $_.FullyQualifiedErrorId) -split ',')[0]
        if (@('InvalidParameter', 'ObjectNotFound') -notcontains $head) { throw }
        $null = Hyper-V\Get-VMHost
    }
}

# The VMs of this host with one of these ids. A query for an unknown id would be an error.
function Find-VmfHostVm {
    param([string[]] $VmIds)
    $wanted = @(foreach ($id in $VmIds) { ConvertTo-VmfId -Id $id })
    foreach ($vm in (Hyper-V\Get-VM)) {
        if ($wanted -contains (ConvertTo-VmfId -Id $vm.Id)) { $vm }
    }
}
#endregion

#region Pulse
function Get-VmfPulse {
    <#
    .SYNOPSIS
    Read what moves on this host now, and these VMs as Hyper-V sees them.
    .DESCRIPTION
    Changes nothing. Running migration jobs are read first, then Hyper-V's counters and limits, then the VMs,
    by their ids. VMs that are not on this host are omitted. The cost does not depend on the number of VMs
    on the host. If counters or jobs cannot be read for lack of rights or of the class, the counters are null
    and there are no jobs.
    .OUTPUTS
    One JSON text; data is {time, migrations, live, storage, live_limit, storage_limit, live_enabled, vms}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # Hyper-V ids of VMs.
        [AllowNull()] [AllowEmptyCollection()] [AllowEmptyString()] [string[]] $VmIds = @()
    )
    try {
        $time = ConvertTo-VmfTime -Date (Get-Date)
        $row = [ordered]@{ time = $time; migrations = [object[]]@(Get-VmfHostMigration) }
        Add-VmfCimField -Row $row -Class 'Msvm_VirtualSystemMigrationService' -Fields ([ordered]@{
                live = 'ActiveVirtualSystemMigrationCount'; storage = 'ActiveStorageMigrationCount'
            })
        Add-VmfCimField -Row $row -Class 'Msvm_VirtualSystemMigrationServiceSettingData' -Fields ([ordered]@{
                live_limit = 'MaximumActiveVirtualSystemMigration'; storage_limit = 'MaximumActiveStorageMigration'
                live_enabled = 'EnableVirtualSystemMigration'
            })
        $row['vms'] = [object[]]@(foreach ($id in $VmIds) {
                foreach ($vm in (Find-VmfVmHere -VmId $id)) { ConvertTo-VmfHostVm -Vm $vm -Used $null }
            })
        ConvertTo-VmfReply -Data $row
    }
    catch { ConvertTo-VmfFailure -ErrorRecord $_ }
}

# The running migration jobs of this host. Hyper-V keeps a job for minutes after its end.
function Get-VmfHostMigration {
    foreach ($job in (Get-VmfCim -Class 'Msvm_MigrationJob')) {
        # 2 new, 3 starting, 4 running, 5 suspended, 6 shutting down; later ones have ended.
        if ($job.JobState -lt 2 -or $job.JobState -gt 6) { continue }
        [ordered]@{
            vm_id       = ConvertTo-VmfId -Id $job.VirtualSystemName
            destination = ConvertTo-VmfText -Value $job.DestinationHost
            progress    = [int] $job.PercentComplete
        }
    }
}

# Add fields of the only instance of a class to a row, by our names; null if they cannot be read.
function Add-VmfCimField {
    param([System.Collections.IDictionary] $Row, [string] $Class, [System.Collections.IDictionary] $Fields)
    $found = @(Get-VmfCim -Class $Class)
    foreach ($name in $Fields.Keys) {
        $Row[$name] = $null
        if ($found.Count -gt 0) { $Row[$name] = Get-VmfProperty -InputObject $found[0] -Name $Fields[$name] -Default $null }
    }
}

# The instances of a class of Hyper-V, none if the class is missing or access is denied. Any other error is
# no answer.
function Get-VmfCim {
    param([string] $Class)
    try { Get-CimInstance -Namespace 'root/virtualization/v2' -ClassName $Class }
    catch {
        # Access denied by WMI and by Windows, no such class, no such namespace.
        $refusals = '^HRESULT 0x(80041003|80070005|80041010|8004100e)(,|$)'
        if ([string] $_.FullyQualifiedErrorId -match $refusals) { return }
        $said = ConvertTo-VmfSentence -Message $_.Exception.Message
        throw (New-VmfError -Class 'unavailable' -Code 'cim' -Message "${Class}: $said")
    }
}
#endregion

#region Networks
function Get-VmfHostNetwork {
    <#
    .SYNOPSIS
    Read the adapters of these VMs in Hyper-V: switch, VLAN, isolation, guards, ACLs of both kinds.
    .DESCRIPTION
    Changes nothing. VMs that are not on this host are omitted.
    .OUTPUTS
    One JSON text; data is {vms}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # Hyper-V ids of VMs.
        [Parameter(Mandatory = $true)] [AllowEmptyCollection()] [AllowEmptyString()] [string[]] $VmIds
    )
    try {
        $rows = [object[]]@(foreach ($vm in (Find-VmfHostVm -VmIds $VmIds)) {
                $adapters = [object[]]@(foreach ($adapter in (Hyper-V\Get-VMNetworkAdapter -VM $vm)) {
                        ConvertTo-VmfHostAdapter -Adapter $adapter
                    })
                [ordered]@{ id = ConvertTo-VmfId -Id $vm.Id; adapters = $adapters }
            })
        ConvertTo-VmfReply -Data ([ordered]@{ vms = $rows })
    }
    catch { ConvertTo-VmfFailure -ErrorRecord $_ }
}

# One adapter with all settings of its port in Hyper-V.
function ConvertTo-VmfHostAdapter {
    param($Adapter)
    $lan = Get-VmfVlan -Adapter $Adapter
    $spoofing = $null
    if ([string] (Get-VmfProperty -InputObject $Adapter -Name 'MacAddressSpoofing' -Default 'Off') -eq 'On') { $spoofing = 'On' }
    [ordered]@{
        id           = ConvertTo-VmfAdapterId -Id $Adapter.Id
        mac          = ConvertTo-VmfMac -Mac $Adapter.MacAddress
        name         = [string] $Adapter.Name
        switch       = ConvertTo-VmfText -Value $Adapter.SwitchName
        connected    = [bool] $Adapter.Connected
        vlan         = $lan['vlan']
        trunk        = $lan['trunk']
        native_vlan  = $lan['native_vlan']
        isolation    = Get-VmfIsolation -Adapter $Adapter
        spoofing     = $spoofing
        guards       = Get-VmfGuard -Adapter $Adapter
        acls         = [object[]]@(foreach ($acl in (Hyper-V\Get-VMNetworkAdapterExtendedAcl -VMNetworkAdapter $Adapter)) {
                ConvertTo-VmfRule -Acl $acl
            })
        classic_acls = [object[]]@(Get-VmfClassicRule -Adapter $Adapter)
    }
}

# {vlan, trunk, native_vlan}: access, untagged (0) or a trunk with its allowed VLANs.
function Get-VmfVlan {
    param($Adapter)
    $found = [ordered]@{ vlan = 0; trunk = [object[]]@(); native_vlan = 0 }
    foreach ($setting in (Hyper-V\Get-VMNetworkAdapterVlan -VMNetworkAdapter $Adapter)) {
        $mode = [string] $setting.OperationMode
        if ($mode -eq 'Access') { $found['vlan'] = [int] $setting.AccessVlanId }
        if ($mode -eq 'Trunk') {
            $found['trunk'] = [object[]]@(foreach ($id in $setting.AllowedVlanIdList) { [int] $id })
            $found['native_vlan'] = [int] $setting.NativeVlanId
        }
    }
    $found
}

# The isolation id of an adapter, or 0. On logical switches it shows the VLANs that VMM sets.
function Get-VmfIsolation {
    param($Adapter)
    foreach ($setting in (Hyper-V\Get-VMNetworkAdapterIsolation -VMNetworkAdapter $Adapter)) {
        if ([string] $setting.IsolationMode -ne 'None') { return [int] $setting.DefaultIsolationID }
    }
    0
}

# The guards that are on, "dhcp,router", or null.
function Get-VmfGuard {
    param($Adapter)
    $on = @(foreach ($guard in @('DhcpGuard', 'RouterGuard')) {
            if ([string] (Get-VmfProperty -InputObject $Adapter -Name $guard -Default 'Off') -eq 'On') {
                ($guard -replace 'Guard$', '').ToLowerInvariant()
            }
        })
    if ($on.Count -eq 0) { return $null }
    $on -join ','
}

# The fields of a rule with Hyper-V's names.
$script:VmfRuleFields = [ordered]@{
    action = 'Action'; direction = 'Direction'; weight = 'Weight'
    local_ip = 'LocalIPAddress'; remote_ip = 'RemoteIPAddress'
    local_port = 'LocalPort'; remote_port = 'RemotePort'; protocol = 'Protocol'
    stateful = 'Stateful'; idle_timeout = 'IdleSessionTimeout'; isolation_id = 'IsolationID'
}
$script:VmfRestrictions = @('local_ip', 'remote_ip', 'local_port', 'remote_port', 'protocol')

# One extended ACL, from Hyper-V or from the caller (Sent). A field missing in the caller's rule is an
# error, never ANY. All words for no restriction (ANY, *, empty, null) become ANY. The timeout counts only
# if the rule is stateful: otherwise its stored value depends on the tool that wrote it.
function ConvertTo-VmfRule {
    param($Acl, [switch] $Sent)
    $rule = [ordered]@{}
    foreach ($name in $script:VmfRuleFields.Keys) {
        if ($Sent) { $rule[$name] = Get-VmfField -InputObject $Acl -Name $name }
        else { $rule[$name] = $Acl.($script:VmfRuleFields[$name]) }
    }
    foreach ($name in @('action', 'direction')) { $rule[$name] = [string] $rule[$name] }
    foreach ($name in $script:VmfRestrictions) { $rule[$name] = ConvertTo-VmfAny -Value $rule[$name] }
    $rule['stateful'] = [bool] $rule['stateful']
    if (-not $rule['stateful']) { $rule['idle_timeout'] = 0 }
    foreach ($name in @('weight', 'idle_timeout', 'isolation_id')) { $rule[$name] = [int] $rule[$name] }
    $rule
}

# The classic port rules of an adapter in words, "Allow Inbound remote 10.0.0.0/8", without metering.
# A rule for both directions is listed once for each. Metering rules belong to the metering of a VM
# and block nothing.
function Get-VmfClassicRule {
    param($Adapter)
    foreach ($acl in (Hyper-V\Get-VMNetworkAdapterAcl -VMNetworkAdapter $Adapter)) {
        if ([string] $acl.Action -eq 'Meter') { continue }
        $sides = @(foreach ($side in @('Local', 'Remote')) {
                $address = ConvertTo-VmfAny -Value (Get-VmfProperty -InputObject $acl -Name ($side + 'Address') -Default '')
                if ($address -ne 'ANY') { $side.ToLowerInvariant() + ' ' + $address.ToUpperInvariant() }
            })
        if ($sides.Count -eq 0) { $sides = @('remote ANY') }
        "$($acl.Action) $($acl.Direction) $($sides -join ' ')"
    }
}

# ANY for every spelling of no restriction; other texts unchanged.
function ConvertTo-VmfAny {
    param($Value)
    $text = ([string] $Value).Trim()
    if (@('', '*', 'ANY') -contains $text) { return 'ANY' }
    $text
}

function Add-VmfHostPort {
    <#
    .SYNOPSIS
    Restore the port settings of a VM's adapters, if the VM is as the caller saw it.
    .DESCRIPTION
    ACLs of both kinds, trunk, isolation, spoofing, guards and, if requested, switch and access VLAN.
    Idempotent: existing settings are left alone. A rule with the same direction and weight (classic:
    direction and address) but another body is never overwritten: the call is refused. Nothing is turned off.
    The VM must be on this host and not be migrating, and NotAfter must not have passed on this host's clock.
    Otherwise the class is stale. All of this is checked again at each adapter. What was restored before an
    error stays.
    .OUTPUTS
    One JSON text; data is {}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        # The Hyper-V id of the VM.
        [Parameter(Mandatory = $true)] [string] $VmId,
        # JSON text: [{id, mac, acls, classic_acls, vlan, trunk, native_vlan, switch, isolation, spoofing,
        # guards}]; null and empty change nothing, VLAN 0 is untagged. An adapter is found by id, else by its
        # MAC if that is unique and not zero.
        [Parameter(Mandatory = $true)] [string] $Adapters,
        # ISO 8601: the end of validity of the caller's decision.
        [Parameter(Mandatory = $true)] [string] $NotAfter
    )
    try {
        $wanted = ConvertFrom-Json -InputObject $Adapters
        $vm = Find-VmfRestingVm -VmId $VmId -NotAfter $NotAfter
        $there = @(foreach ($one in (Hyper-V\Get-VMNetworkAdapter -VM $vm)) { $one })
        # The rules of all adapters first: no adapter is connected without its rules, and a switch that
        # the host refuses costs no rule.
        foreach ($part in @('rules', 'port')) {
            foreach ($repair in $wanted) {
                $adapter = Find-VmfAdapter -Adapters $there -IdProperty 'Id' -Wanted $repair -VmName $vm.Name
                $null = Find-VmfRestingVm -VmId $VmId -NotAfter $NotAfter
                if ($part -eq 'rules') { Add-VmfPortRule -Adapter $adapter -Repair $repair; continue }
                Set-VmfPort -Adapter $adapter -Repair $repair
                Set-VmfConnection -Adapter $adapter -Repair $repair
            }
        }
        ConvertTo-VmfReply -Data ([ordered]@{})
    }
    catch { ConvertTo-VmfFailure -ErrorRecord $_ }
}

# The VM with this id. Throw stale if it is not here, if it is migrating, or if it is too late.
function Find-VmfRestingVm {
    param([string] $VmId, [string] $NotAfter)
    $vm = $null
    foreach ($one in (Find-VmfVmHere -VmId $VmId)) { $vm = $one }
    if ($null -eq $vm) { throw (New-VmfStale -Code 'elsewhere' -Message "This host has no virtual machine $VmId") }
    $words = @((ConvertTo-VmfHostVm -Vm $vm -Used $null)['status'])
    foreach ($word in @('MigratingVirtualMachine', 'StorageMigrationPhaseOne', 'StorageMigrationPhaseTwo')) {
        if ($words -notcontains $word) { continue }
        throw (New-VmfStale -Code 'migrating' -Message "A migration of $($vm.Name) is already running")
    }
    Assert-VmfInTime -Name $vm.Name -NotAfter $NotAfter
    $vm
}

# Restore the rules of one adapter, of both kinds.
function Add-VmfPortRule {
    param($Adapter, $Repair)
    $label = Get-VmfLabel -Wanted $Repair
    Add-VmfClassicRule -Adapter $Adapter -Rules (Get-VmfField -InputObject $Repair -Name 'classic_acls') -Label $label
    Add-VmfAcl -Adapter $Adapter -Acls (Get-VmfField -InputObject $Repair -Name 'acls') -Label $label
}

# Set the switch, then the trunk or access VLAN, if they are given and differ.
function Set-VmfConnection {
    param($Adapter, $Repair)
    $switchName = [string] (Get-VmfField -InputObject $Repair -Name 'switch')
    if ($switchName -and [string] $Adapter.SwitchName -ne $switchName) {
        $null = Hyper-V\Connect-VMNetworkAdapter -VMNetworkAdapter $Adapter -SwitchName $switchName
    }
    $trunk = @(foreach ($id in (Get-VmfField -InputObject $Repair -Name 'trunk')) { if ($null -ne $id) { [int] $id } })
    $native = [int] (Get-VmfField -InputObject $Repair -Name 'native_vlan')
    $vlan = Get-VmfField -InputObject $Repair -Name 'vlan'
    $now = Get-VmfVlan -Adapter $Adapter
    if ($trunk.Count -gt 0) {
        $allowed = ($trunk | Sort-Object) -join ','
        if ((($now['trunk'] | Sort-Object) -join ',') -eq $allowed -and $now['native_vlan'] -eq $native) { return }
        $null = Hyper-V\Set-VMNetworkAdapterVlan -VMNetworkAdapter $Adapter -Trunk -AllowedVlanIdList $allowed -NativeVlanId $native
        return
    }
    if ($null -eq $vlan) { return }
    if ($now['trunk'].Count -eq 0 -and $now['vlan'] -eq $vlan) { return }
    # If VMM isolates by VLAN, Hyper-V refuses an access VLAN in addition.
    if ((Get-VmfIsolation -Adapter $Adapter) -ne 0) { return }
    if ($vlan -eq 0) { $null = Hyper-V\Set-VMNetworkAdapterVlan -VMNetworkAdapter $Adapter -Untagged }
    else { $null = Hyper-V\Set-VMNetworkAdapterVlan -VMNetworkAdapter $Adapter -Access -VlanId $vlan }
}

# Set isolation by VLAN, spoofing and guards, if they are given and differ.
function Set-VmfPort {
    param($Adapter, $Repair)
    $isolation = Get-VmfField -InputObject $Repair -Name 'isolation'
    if ($null -ne $isolation -and (Get-VmfIsolation -Adapter $Adapter) -ne $isolation) {
        # The id applies to untagged traffic: if that is not allowed, the id has no effect.
        $null = Hyper-V\Set-VMNetworkAdapterIsolation -VMNetworkAdapter $Adapter -IsolationMode Vlan -DefaultIsolationID $isolation -AllowUntaggedTraffic $true
    }
    $wanted = @(([string] (Get-VmfField -InputObject $Repair -Name 'guards')) -split ',')
    $on = @{}
    if ([string] (Get-VmfField -InputObject $Repair -Name 'spoofing') -eq 'On') { $on['MacAddressSpoofing'] = 'On' }
    if ($wanted -contains 'dhcp') { $on['DhcpGuard'] = 'On' }
    if ($wanted -contains 'router') { $on['RouterGuard'] = 'On' }
    foreach ($name in @($on.Keys)) {
        if ([string] (Get-VmfProperty -InputObject $Adapter -Name $name -Default 'Off') -eq 'On') { $on.Remove($name) }
    }
    if ($on.Count -gt 0) { $null = Hyper-V\Set-VMNetworkAdapter -VMNetworkAdapter $Adapter @on }
}

# Add the missing classic rules, in the given order.
function Add-VmfClassicRule {
    param($Adapter, $Rules, [string] $Label)
    # From direction and address to the action: together they are the whole rule.
    $there = @{}
    foreach ($text in (Get-VmfClassicRule -Adapter $Adapter)) {
        $action, $key = $text -split ' ', 2
        $there[$key] = $action
    }
    foreach ($text in $Rules) {
        if ($null -eq $text) { continue }
        if ([string] $text -notmatch '^(Allow|Deny) ((Inbound|Outbound)(?= )(?: local (\S+))?(?: remote (\S+))?)$') {
            throw (New-VmfError -Class 'refused' -Code 'contract' -Message "This is not a classic rule: $text")
        }
        $action, $key, $direction, $local, $remote = @(foreach ($n in 1..5) { [string] $Matches[$n] })
        if (-not $there.ContainsKey($key)) {
            $addresses = Get-VmfAddressParameter -Local $local -Remote $remote
            $null = Hyper-V\Add-VMNetworkAdapterAcl -VMNetworkAdapter $Adapter -Action $action -Direction $direction @addresses
            $there[$key] = $action
        }
        elseif ($there[$key] -ne $action) {
            $text = "$key on adapter $Label is another rule already: $($there[$key]) $key"
            throw (New-VmfError -Class 'refused' -Code 'acl_conflict' -Message $text)
        }
    }
}

# The address parameters of a classic rule. Six pairs of digits are a MAC address.
function Get-VmfAddressParameter {
    param([string] $Local, [string] $Remote)
    $found = @{}
    $sides = @{ Local = $Local; Remote = $Remote }
    foreach ($side in $sides.Keys) {
        if ($sides[$side].Length -eq 0) { continue }
        $kind = 'IPAddress'
        if ($sides[$side] -match '^[0-9A-F]{2}([-:]?[0-9A-F]{2}){5}$') { $kind = 'MacAddress' }
        $found["$side$kind"] = $sides[$side]
    }
    $found
}

# Add the missing rules, in the given order.
function Add-VmfAcl {
    param($Adapter, $Acls, [string] $Label)
    # From key (direction and weight) to the rules in words. Equal words mean equal rules.
    $there = @{}
    foreach ($acl in (Hyper-V\Get-VMNetworkAdapterExtendedAcl -VMNetworkAdapter $Adapter)) {
        $body = ConvertTo-VmfRule -Acl $acl
        $key = "$($body['direction']) weight $($body['weight'])"
        $there[$key] += @(Format-VmfRule -Rule $body)
    }
    foreach ($acl in $Acls) {
        if ($null -eq $acl) { continue }
        $rule = ConvertTo-VmfRule -Acl $acl -Sent
        $key = "$($rule['direction']) weight $($rule['weight'])"
        $body = Format-VmfRule -Rule $rule
        if (-not $there.ContainsKey($key)) {
            Add-VmfRule -Adapter $Adapter -Rule $rule
            $there[$key] = @($body)
        }
        elseif ($there[$key] -notcontains $body) {
            $text = "$key on adapter $Label is another rule already: $($there[$key] -join '; ')"
            throw (New-VmfError -Class 'refused' -Code 'acl_conflict' -Message $text)
        }
    }
}

# A whole rule in words: "Inbound Allow weight 10, TCP, local ANY:ANY, remote 10.0.0.0/8:443".
function Format-VmfRule {
    param([System.Collections.IDictionary] $Rule)
    $text = "$($Rule['direction']) $($Rule['action']) weight $($Rule['weight']), $($Rule['protocol']), " +
        "local $($Rule['local_ip']):$($Rule['local_port']), remote $($Rule['remote_ip']):$($Rule['remote_port'])"
    if ($Rule['stateful']) { $text = "$text, stateful for $($Rule['idle_timeout']) s" }
    if ($Rule['isolation_id'] -ne 0) { $text = "$text, isolation $($Rule['isolation_id'])" }
    $text
}

# Add one rule. Parameters without a restriction are omitted: the cmdlet refuses empty texts, and only a
# stateful rule has a timeout.
function Add-VmfRule {
    param($Adapter, [System.Collections.IDictionary] $Rule)
    $more = @{}
    foreach ($name in $script:VmfRestrictions) {
        if ($Rule[$name] -ne 'ANY') { $more[$script:VmfRuleFields[$name]] = $Rule[$name] }
    }
    if ($Rule['stateful']) {
        $more['Stateful'] = $true
        $more['IdleSessionTimeout'] = $Rule['idle_timeout']
    }
    if ($Rule['isolation_id'] -ne 0) { $more['IsolationID'] = $Rule['isolation_id'] }
    $null = Hyper-V\Add-VMNetworkAdapterExtendedAcl -VMNetworkAdapter $Adapter -Action $Rule['action'] -Direction $Rule['direction'] -Weight $Rule['weight'] @more
}
#endregion

#region Rights
function Test-VmfRights {
    <#
    .SYNOPSIS
    Check whether the caller may read and write extended ACLs on this host. Changes nothing.
    .DESCRIPTION
    Reading is tried on the first adapter of a VM, else of the host itself. Writing cannot be tried
    without writing: the caller must be an administrator of this host or of its Hyper-V, and Hyper-V
    must accept the call with -WhatIf. Without any adapter only the role is checked.
    .OUTPUTS
    One JSON text; data is {readable, writable, why}.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param()
    $readable = $false
    try {
        $adapter = $null
        foreach ($vm in (Hyper-V\Get-VM)) {
            foreach ($one in (Hyper-V\Get-VMNetworkAdapter -VM $vm)) { $adapter = $one; break }
            if ($null -ne $adapter) { break }
        }
        if ($null -eq $adapter) {
            foreach ($one in (Hyper-V\Get-VMNetworkAdapter -ManagementOS)) { $adapter = $one; break }
        }
        if ($null -ne $adapter) { $null = Hyper-V\Get-VMNetworkAdapterExtendedAcl -VMNetworkAdapter $adapter }
        $readable = $true
        $why = Get-VmfMissingRole
        if ($null -eq $why -and $null -ne $adapter) {
            Hyper-V\Add-VMNetworkAdapterExtendedAcl -VMNetworkAdapter $adapter -Action Allow -Direction Inbound -Weight 1 -WhatIf
        }
        ConvertTo-VmfReply -Data ([ordered]@{ readable = $true; writable = $null -eq $why; why = $why })
    }
    catch {
        if (-not (Test-VmfRefusal -ErrorRecord $_)) { return ConvertTo-VmfFailure -ErrorRecord $_ }
        $why = ConvertTo-VmfSentence -Message $_.Exception.Message
        ConvertTo-VmfReply -Data ([ordered]@{ readable = $readable; writable = $false; why = $why })
    }
}

# The reason why this identity may not change Hyper-V; null if it may, or on other systems than Windows.
function Get-VmfMissingRole {
    try { $identity = [System.Security.Principal.WindowsIdentity]::GetCurrent() }
    catch [System.PlatformNotSupportedException] { return $null }
    $principal = New-Object -TypeName System.Security.Principal.WindowsPrincipal -ArgumentList $identity
    # Administrators and Hyper-V Administrators, by id: Windows translates their names.
    foreach ($group in @('S-1-5-32-544', 'S-1-5-32-578')) {
        $sid = New-Object -TypeName System.Security.Principal.SecurityIdentifier -ArgumentList $group
        if ($principal.IsInRole($sid)) { return $null }
    }
    "$($identity.Name) is not a member of Administrators or Hyper-V Administrators"
}
#endregion
