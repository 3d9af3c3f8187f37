package vk

// Severity of a Message; the values are those of VkDebugUtilsMessageSeverityFlagBitsEXT.
type Severity uint32

// The severities, from chatter to error.
const (
	SeverityVerbose Severity = 0x1
	SeverityInfo    Severity = 0x10
	SeverityWarning Severity = 0x100
	SeverityError   Severity = 0x1000
)

// String is "verbose", "info", "warning" or "error".
func (s Severity) String() string {
	switch {
	case s >= SeverityError:
		return "error"
	case s >= SeverityWarning:
		return "warning"
	case s >= SeverityInfo:
		return "info"
	}
	return "verbose"
}

// Message is what a driver, a layer or this package had to say beside its results.
type Message struct {
	Severity Severity
	ID       string // such as VUID-vkCmdDispatch-None-02699; "vkattn" for messages of this package
	Text     string
}

// String is "severity: id: text".
func (m Message) String() string { return m.Severity.String() + ": " + m.ID + ": " + m.Text }
