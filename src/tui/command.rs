//! What can be done in the cockpit, by name. Keys map to these names, and the help is made from them.

macro_rules! commands {
    ($($variant:ident $name:literal $hint:literal $about:literal;)*) => {
        /// Something that a key can do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Command { $(#[doc = $about] $variant,)* }

        impl Command {
            /// Every command.
            pub const ALL: &[Command] = &[$(Command::$variant,)*];

            /// Its stable name, as a keymap file writes it.
            pub fn name(self) -> &'static str {
                match self { $(Command::$variant => $name,)* }
            }

            /// Its word in the footer; empty when it is not worth a place there.
            pub fn hint(self) -> &'static str {
                match self { $(Command::$variant => $hint,)* }
            }

            /// What it does, for the help.
            pub fn about(self) -> &'static str {
                match self { $(Command::$variant => $about,)* }
            }
        }
    };
}

commands! {
    Help "help" "help" "show or hide the keys of this screen";
    Palette "palette" "command" "every command by its name";
    CloseHelp "close-help" "close" "close the help";
    Quit "quit" "quit" "leave; a run goes on without the cockpit";
    Repaint "repaint" "" "paint the screen anew";
    Back "back" "back" "back to the screen before";
    Up "up" "" "one up";
    Down "down" "" "one down";
    Left "left" "" "one to the left; less";
    Right "right" "" "one to the right; more";
    PageUp "page-up" "" "ten up";
    PageDown "page-down" "" "ten down";
    First "first" "" "to the first";
    Last "last" "" "to the last";
    Observe "observe" "look again" "look at the cluster and every node again";
    OpenStage "open-stage" "stage" "stage a release";
    OpenMap "open-map" "map" "the map, with the run's swaps on it";
    OpenRun "open-run" "run" "the run";
    ZoomIn "zoom-in" "zoom" "nearer: the rack, then the node";
    ZoomOut "zoom-out" "" "further away: the rack, then the fleet";
    NextLayer "next-layer" "layer" "the next layer: what the cells show";
    LayerState "layer-state" "" "cells show the run's or the release's state";
    LayerVersion "layer-version" "" "cells show the kubelet's version";
    LayerHealth "layer-health" "" "cells show whether the node is well";
    LayerRole "layer-role" "" "cells show the role";
    LayerAge "layer-age" "" "cells show how long the kubelet has been up";
    Filter "filter" "filter" "find nodes: letters, rack=3 version<1.36 ...";
    KeepFilter "keep-filter" "keep" "keep the filter, and go on with the map";
    ClearFilter "clear-filter" "clear" "take the filter away";
    NextMatch "next-match" "" "to the next node that matches the filter";
    LastMatch "last-match" "" "to the one before";
    Mark "mark" "mark" "mark the node, or take its mark away";
    MarkRange "mark-range" "" "mark from the last mark up to here";
    MarkRack "mark-rack" "" "mark the rack, or take its marks away";
    MarkMatches "mark-matches" "" "mark all that match, or unmark them";
    UnmarkAll "unmark-all" "" "take every mark away";
    More "more" "more" "raise the selected limit";
    Less "less" "less" "lower the selected limit";
    Choose "choose" "choose" "stage the selected release or component";
    Edit "edit" "edit" "type into the line; checked as you type";
    Unstage "unstage" "unstage" "unstage the line; a limit to the profile's";
    KeepField "keep-field" "keep" "keep what is typed";
    LeaveField "leave-field" "as before" "leave the field as it was";
    Accept "accept" "accept" "take the finding's offer, or acknowledge it";
    MakePlan "make-plan" "plan" "plan the release; nothing is touched";
    Fold "fold" "open/close" "fold or unfold the selected line";
    FoldAll "fold-all" "fold all" "fold or unfold every phase";
    OpenConfirm "open-confirm" "apply…" "apply this plan; asks for the cluster's name";
    Apply "apply" "apply" "start the run";
    Erase "erase" "" "take the last character away";
    EraseAll "erase-all" "" "empty the field";
    Pause "pause" "pause" "finish what is in flight, start nothing new";
    Resume "resume" "resume" "go on with a paused run";
    Abort "abort" "abort…" "roll back what is in flight and end; asks first";
    Rollback "way-back" "way back" "plan the way back of this run; asks nothing yet";
    Retry "retry" "retry…" "try again what failed, and its gate; asks first";
    Skip "skip" "skip…" "leave the selected node as it is; asks why";
    RollBack "roll-back" "roll back…" "take the selected node back; asks first";
    Override "override" "override…" "pass the gate that is waited for; asks why";
    OpenReport "open-report" "report" "the report of the run";
    OpenEvents "open-events" "events" "every line of the run's story";
    Find "find" "find" "only lines with these words";
    KeepFind "keep-find" "keep" "keep the words, and go on with the lines";
    ClearFind "clear-find" "clear" "show every line again";
    OnlyTrouble "only-trouble" "trouble" "only lines that are worth a look, or all";
    OpenNode "open-node" "node" "the node of the selected line, from near";
    OpenHistory "open-history" "history" "past runs and their reports";
    ReadReport "read-report" "report" "the report of the selected run";
    Clusters "clusters" "clusters" "open another cluster";
    ChooseTheme "choose-theme" "" "choose another theme, with a preview";
    Log "log" "" "what this cockpit logged";
    Copy "copy" "" "copy what the cursor is on";
    CopyLine "copy-line" "" "copy a command line that does the same";
    Suspend "suspend" "" "back to the shell; fg goes on";
    PlayPause "play-pause" "play" "play the tape, or stop it";
    SeekBack "seek-back" "" "the tape a little back";
    SeekOn "seek-on" "seek" "the tape a little on";
    SeekFarBack "seek-far-back" "" "the tape a good deal back";
    SeekFarOn "seek-far-on" "" "the tape a good deal on";
    EventBack "event-back" "" "to the event before";
    EventOn "event-on" "event" "to the next event";
    NextFailure "next-failure" "failure" "to the next failure on the tape";
    LastFailure "last-failure" "" "to the failure before";
    NextWave "next-wave" "wave" "to the beginning of the next wave";
    Slower "slower" "" "play slower";
    Faster "faster" "faster" "play faster";
    TapeBegin "tape-begin" "" "to the beginning of the tape";
    TapeEnd "tape-end" "" "to the end of the tape";
    Yes "yes" "yes" "yes";
    No "no" "no" "no";
}

impl Command {
    /// Whether it can be done by its name alone; the others move a cursor, edit a field or answer a question.
    pub fn has_meaning_alone(self) -> bool {
        use Command::*;
        let moves = matches!(self, Up | Down | Left | Right | PageUp | PageDown | First | Last | More | Less);
        let edits = matches!(self, Erase | EraseAll | Yes | No | CloseHelp | Apply | Palette)
            || matches!(
                self,
                KeepFilter | KeepFind | ClearFind | KeepField | LeaveField | Choose | Edit | Unstage | Accept
            );
        !moves && !edits
    }

    /// Whether it is a key of the player's.
    pub fn moves_the_tape(self) -> bool {
        use Command::*;
        let seeks =
            matches!(self, SeekBack | SeekOn | SeekFarBack | SeekFarOn | EventBack | EventOn | TapeBegin | TapeEnd);
        seeks || matches!(self, PlayPause | NextFailure | LastFailure | NextWave | Slower | Faster)
    }

    /// Whether it leads to a change of the cluster or a run; such commands have no key in a read-only cockpit.
    pub fn acts(self) -> bool {
        matches!(
            self,
            Command::OpenConfirm
                | Command::Apply
                | Command::Pause
                | Command::Resume
                | Command::Abort
                | Command::Rollback
                | Command::Retry
                | Command::Skip
                | Command::RollBack
                | Command::Override
        )
    }
}
