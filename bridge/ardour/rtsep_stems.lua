ardour {
	["type"] = "EditorAction",
	name = "rtsep: stem tracks",
	license = "GPLv3",
	author = "rtsep",
	description = [[
Makes a stereo track for every stem of rtsep and a MIDI track for its notes, connects them and
arms them for recording.

The stems come from the rtsep plugin where a track has it, else from the JACK ports of a running
'rtsep live', else the plugin is added. The mix is the selected track, the one called "Mix", or a
new one of that name. Run it again whenever you like: tracks that are there are used again.
]]
}

function action_params () return
{
	["from"]   = { title = "Stems from: auto, plugin or jack", default = "auto" },
	["client"] = { title = "JACK client of rtsep live", default = "rtsep" },
	["midi"]   = { title = "JACK port of its notes", default = "rtsep-midi:notes" },
	["prefix"] = { title = "Put in front of the tracks' names", default = "" },
}
end

-- Ardour keeps the function that factory returns and nothing else of this file, so all of it
-- is in there.
function factory (params) return function ()
	params = params or {}
	local from   = params["from"] or "auto"
	local client = params["client"] or "rtsep"
	local notes  = params["midi"] or "rtsep-midi:notes"
	local prefix = params["prefix"] or ""

	local AUDIO, MIDI = ARDOUR.DataType ("audio"), ARDOUR.DataType ("midi")
	local LAST, ALONE = ARDOUR.PresentationInfo.max_order, PBD.GroupControlDisposition.NoGroup
	-- The plugin's buses behind its main one. Two more are for models with other stems.
	local BUSES = { "drums", "bass", "guitar", "piano", "other" }
	local COLORS = {
		drums = 0xd9792bff, bass = 0x4a7dbfff, guitar = 0x5aa455ff,
		piano = 0xb8a03cff, other = 0x8a8a96ff, notes = 0x9a62b0ff,
	}
	local problems = {}

	local function say (text)
		if LuaDialog then
			LuaDialog.Message ("rtsep", text, LuaDialog.MessageType.Info, LuaDialog.ButtonType.Close):run ()
		else
			print ("rtsep: " .. text)
		end
	end

	-- New ports of Ardour's are first connected to the master bus, by another thread, and JACK
	-- wants to have told everybody about them before it is asked for more.
	local function settle () ARDOUR.LuaAPI.usleep (500000) end

	local function connect (port, name)
		if port:isnil () then
			problems[#problems + 1] = "no port for " .. name
		elseif not port:connected_to (name) and port:connect (name) ~= 0 then
			problems[#problems + 1] = port:name () .. " was not connected to " .. name
		end
	end

	-- The names of all ports with this direction and type.
	local function ports (kind, flag)
		local _, answer = Session:engine ():get_backend_ports ("", kind, flag, C.StringVector ())
		local names = {}
		for name in answer[4]:iter () do names[#names + 1] = name end
		return names
	end

	-- Of 'rtsep live', in its order: drums, bass, ..., without the monitor mix.
	local function jack_stems ()
		local found, start = {}, client .. ":"
		for _, name in ipairs (ports (AUDIO, ARDOUR.PortFlags.IsOutput)) do
			if name:sub (1, #start) == start and name:sub (-2) == "_L" then
				local stem = name:sub (#start + 1, -3)
				if stem ~= "monitor" then found[#found + 1] = stem end
			end
		end
		return found
	end

	local function plugin_of (route)
		local number = 0
		while true do
			local processor = route:nth_plugin (number)
			if processor:isnil () then return nil end
			local insert = processor:to_insert ()
			if not insert:isnil () and insert:plugin (0):name () == "rtsep" then return processor end
			number = number + 1
		end
	end

	local function first (list)
		for track in list:iter () do return track:to_track () end
	end

	local function audio_track (name)
		name = prefix .. name
		local there = Session:route_by_name (name)
		if not there:isnil () and not there:to_track ():isnil () then return there:to_track () end
		return first (Session:new_audio_track (2, 2, nil, 1, name, LAST, ARDOUR.TrackMode.Normal, false))
	end

	local function midi_track (name)
		name = prefix .. name
		local there = Session:route_by_name (name)
		if not there:isnil () and not there:to_track ():isnil () then return there:to_track () end
		local one = ARDOUR.ChanCount (MIDI, 1)
		return first (Session:new_midi_track (one, one, true, ARDOUR.PluginInfo (), nil, nil, 1, name,
			LAST, ARDOUR.TrackMode.Normal, false))
	end

	local function mix_track ()
		if Editor then
			for route in Editor:get_selection ().tracks:routelist ():iter () do
				if not route:to_track ():isnil () then return route:to_track () end
			end
		end
		return audio_track ("Mix")
	end

	-- To add a plugin that is missing: VST3 first, since its latency is the lower one.
	local function add_plugin (track)
		for _, kind in ipairs ({ "VST3", "LV2" }) do
			local processor = ARDOUR.LuaAPI.new_plugin (Session, "rtsep", ARDOUR.PluginType[kind], "")
			if not processor:isnil () and track:add_processor_by_index (processor, 0, nil, true) == 0 then
				return processor
			end
		end
	end

	-- All 16 channels and the notes leave the track: two are all that a strict one lets out.
	local function open_up (track, processor)
		track:set_strict_io (false)
		local insert = processor:to_insert ()
		if insert:output_streams ():n_audio () < 2 * (#BUSES + 1) then
			track:reset_plugin_insert (processor)
		end
		local panner = track:panner_shell ()
		if not panner:isnil () then panner:set_bypassed (true) end
		settle ()
		-- The mix is not heard beside its stems.
		local out = track:output ()
		for number = 0, out:n_ports ():n_audio () - 1 do out:audio (number):disconnect_all () end
	end

	local tracks = {}
	local function arm (track, name)
		track:presentation_info_ptr ():set_color (COLORS[name] or COLORS.other)
		tracks[#tracks + 1] = track
	end

	local function from_plugin (track, processor)
		open_up (track, processor)
		local out = track:output ()
		for number, stem in ipairs (BUSES) do arm (audio_track (stem), stem) end
		arm (midi_track ("notes"), "notes")
		settle ()
		for number, stem in ipairs (BUSES) do
			for side = 0, 1 do
				local port = tracks[number]:input ():audio (side)
				port:disconnect_all ()
				connect (port, out:audio (2 * number + side):name ())
			end
		end
		local port = tracks[#tracks]:input ():midi (0)
		port:disconnect_all ()
		if out:midi (0):isnil () then
			problems[#problems + 1] = "the track of the plugin has no MIDI output"
		else
			connect (port, out:midi (0):name ())
		end
	end

	local function from_jack (track, stems)
		for _, stem in ipairs (stems) do arm (audio_track (stem), stem) end
		local heard = false
		for _, name in ipairs (ports (MIDI, ARDOUR.PortFlags.IsOutput)) do heard = heard or name == notes end
		if heard then arm (midi_track ("notes"), "notes") end
		settle ()
		local out = track:output ()
		for side = 0, 1 do
			out:audio (side):disconnect_all ()
			connect (out:audio (side), client .. (side == 0 and ":mix_L" or ":mix_R"))
		end
		for number, stem in ipairs (stems) do
			for side = 0, 1 do
				local port = tracks[number]:input ():audio (side)
				port:disconnect_all ()
				connect (port, client .. ":" .. stem .. (side == 0 and "_L" or "_R"))
			end
		end
		if heard then
			local port = tracks[#tracks]:input ():midi (0)
			port:disconnect_all ()
			connect (port, notes)
		else
			problems[#problems + 1] = "no notes: start rtsep live with --midi-out notes"
		end
	end

	local track, processor
	if from ~= "jack" then
		for route in Session:get_routes ():iter () do
			if not processor and not route:to_track ():isnil () then
				processor = plugin_of (route)
				if processor then track = route:to_track () end
			end
		end
	end
	local stems = {}
	if from ~= "plugin" and not processor then stems = jack_stems () end
	if #stems > 0 then
		from_jack (mix_track (), stems)
	elseif from == "jack" then
		return say ("no stems at JACK's ports " .. client .. ":*_L; start: rtsep live")
	else
		if not processor then
			track = mix_track ()
			processor = add_plugin (track)
		end
		if not processor then
			return say ("neither rtsep live at JACK nor the plugin; start the one, or install the other"
				.. " (make -C bridge/plugin install) and have Ardour scan for plugins")
		end
		from_plugin (track, processor)
	end
	for _, made in ipairs (tracks) do made:rec_enable_control ():set_value (1, ALONE) end
	if #problems > 0 then say (table.concat (problems, "\n")) end
end end
