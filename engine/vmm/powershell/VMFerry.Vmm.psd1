@{
    RootModule        = 'VMFerry.Vmm.psm1'
    ModuleVersion     = '2.0.0'
    GUID              = '0b6f1d6e-5c0a-4c43-9d54-0a3f1d2f8a61'
    Author            = 'VMFerry contributors'
    Copyright         = 'VMFerry contributors, MIT license'
    Description       = 'Functions of VMFerry for a VMM server. Each returns one JSON text.'
    PowerShellVersion = '5.1'
    FunctionsToExport = @(
        'Clear-VmfFailure', 'Get-VmfInventory', 'Get-VmfJobs', 'Get-VmfNetwork', 'Get-VmfSite', 'Get-VmfVersion'
        'Repair-VmfModel', 'Start-VmfMove', 'Start-VmfReread', 'Stop-VmfMove'
    )
    CmdletsToExport   = @()
    VariablesToExport = @()
    AliasesToExport   = @()
}
