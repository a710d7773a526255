# Get-Date of a stub shell: the clock of this computer's world.
$script:Handlers['Get-Date'] = {
    param($Bound, $Cmdlet)
    if ($Bound.Count -gt 0) { return Microsoft.PowerShell.Utility\Get-Date @Bound }
    $answer = Send-World 'Get-Date' '' @{} $false
    [datetimeoffset]::Parse($answer.objects[0], [System.Globalization.CultureInfo]::InvariantCulture).LocalDateTime
}
