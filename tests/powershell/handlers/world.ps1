# The body of every stub: send the cmdlet and its parameters to the world, and turn the answer into
# the result of the real cmdlet. One JSON text per line over TCP on loopback:
#   request  {"shell", "cmdlet", "set", "bound": {parameter: value or ID}, "whatif"}
#   answer   {"objects": [row...], "job": row or null} or {"error": {"kind", "id", "text"}}
# A row is {"type": full type name, property: value or row...}. VMFERRY_WORLD is host:port,
# VMFERRY_SHELL is the computer of this shell: vmm, or the full name of a host.
$script:World = $null

function Connect-World {
    $address = [Environment]::GetEnvironmentVariable('VMFERRY_WORLD') -split ':'
    $client = New-Object -TypeName System.Net.Sockets.TcpClient -ArgumentList $address[0], ([int] $address[1])
    $client.NoDelay = $true
    $encoding = New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false
    $stream = $client.GetStream()
    $script:World = @{
        Writer = New-Object -TypeName System.IO.StreamWriter -ArgumentList $stream, $encoding
        Reader = New-Object -TypeName System.IO.StreamReader -ArgumentList $stream, $encoding
    }
}

function Send-World([string] $Cmdlet, [string] $Set, [hashtable] $Bound, [bool] $WhatIf) {
    if ($null -eq $script:World) { Connect-World }
    $shell = [Environment]::GetEnvironmentVariable('VMFERRY_SHELL')
    $request = @{ shell = $shell; cmdlet = $Cmdlet; set = $Set; bound = $Bound; whatif = $WhatIf }
    $script:World.Writer.Write((ConvertTo-Json -InputObject $request -Depth 6 -Compress) + "`n")
    $script:World.Writer.Flush()
    ConvertFrom-Json -InputObject $script:World.Reader.ReadLine()
}

function ConvertTo-WorldKey($Value) {
    if ($null -eq $Value) { return $null }
    if ($Value -is [System.Management.Automation.SwitchParameter]) { return [bool] $Value }
    if ($Value -is [Microsoft.SystemCenter.VirtualMachineManager.ClientObject]) { return [string] $Value.ID }
    if ($Value -is [Microsoft.HyperV.PowerShell.VirtualMachine]) { return [string] $Value.Id }
    if ($Value -is [Microsoft.HyperV.PowerShell.VMNetworkAdapterBase]) { return [string] $Value.Id }
    if ($Value -is [enum] -or $Value -is [guid]) { return [string] $Value }
    if ($Value -is [array]) { return , @(foreach ($one in $Value) { ConvertTo-WorldKey $one }) }
    $Value
}

function New-WorldError($Problem, [string] $Cmdlet) {
    $category = [System.Management.Automation.ErrorCategory]::ReadError
    $text = [string] $Problem.text
    $id = [string] $Problem.id
    switch ($Problem.kind) {
        'vmm' {
            if ($id -match '^\d+$') {
                $text = "$text (Error ID: $id, Detailed Error: )`r`n`r`nWait, and then try the operation again.`r`n`r`n" +
                    'To restart the job, run the following command:' + "`r`nPS> Restart-Job"
            }
            $exception = New-Object -TypeName Microsoft.VirtualManager.Utils.CarmineException -ArgumentList $text
        }
        'hyperv' { $exception = New-Object -TypeName Microsoft.HyperV.PowerShell.VirtualizationException -ArgumentList $text }
        'cim' { $exception = New-Object -TypeName Microsoft.Management.Infrastructure.CimException -ArgumentList $text }
        default { $exception = New-Object -TypeName System.IO.IOException -ArgumentList $text }
    }
    New-Object -TypeName System.Management.Automation.ErrorRecord -ArgumentList $exception, $id, $category, $null
}

function Invoke-World([string] $Name, $Bound, $Cmdlet) {
    $sent = @{}
    foreach ($parameter in $Bound.Keys) { $sent[$parameter] = ConvertTo-WorldKey $Bound[$parameter] }
    $whatIf = $sent.ContainsKey('WhatIf') -and $sent['WhatIf']
    $answer = Send-World $Name $Cmdlet.ParameterSetName $sent $whatIf
    if ($null -ne $answer.PSObject.Properties['error']) { $Cmdlet.ThrowTerminatingError((New-WorldError $answer.error $Name)) }
    if ($whatIf) { $null = $Cmdlet.ShouldProcess($Name) }
    if ($sent.ContainsKey('JobVariable') -and $null -ne $answer.job) {
        # The session state of the stub's caller.
        $Cmdlet.SessionState.PSVariable.Set($sent['JobVariable'], [VMFerry.Tests.Row]::Make($answer.job))
    }
    foreach ($row in $answer.objects) { [VMFerry.Tests.Row]::Make($row) }
}
