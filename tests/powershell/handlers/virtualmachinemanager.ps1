# Aliases of the real module, which shadow Hyper-V's cmdlets.
foreach ($pair in @{
        'Get-VM' = 'Get-SCVirtualMachine'; 'Get-VMHost' = 'Get-SCVMHost'; 'Move-VM' = 'Move-SCVirtualMachine'
        'Stop-Job' = 'Stop-SCJob'
    }.GetEnumerator()) {
    Set-Alias -Name $pair.Key -Value $pair.Value -Scope Script
}
