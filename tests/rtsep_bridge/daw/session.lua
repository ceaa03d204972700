-- ardour7-lua session.lua SCRIPT FOLDER KIND STEM...
-- A session without a sound card: the script makes its tracks around the plugin, and every
-- track goes to channels of the master bus of its own, so that one export holds them all.
io.stdout:setvbuf ("line")
local script, folder, kind = arg[1], arg[2], arg[3]
local stems = { table.unpack (arg, 4) }
AudioEngine:set_backend ("None (Dummy)", "", "")
Session = create_session (folder, "session", 48000)
print ("begun")
local audio = ARDOUR.DataType ("audio")
local master = Session:master_out ()
master:panner_shell ():set_bypassed (true)
for _ = 3, 4 + 2 * #stems do
	assert (master:input ():add_port ("", nil, audio) == 0)
end

local function track (name)
	for made in Session:new_audio_track (2, 2, nil, 1, name, ARDOUR.PresentationInfo.max_order,
		ARDOUR.TrackMode.Normal, false):iter () do return made end
end

local dry = track ("Dry")
local mix = track ("Mix")
local plugin = ARDOUR.LuaAPI.new_plugin (Session, "rtsep", ARDOUR.PluginType[kind], "")
assert (not plugin:isnil (), "Ardour does not know the plugin")
assert (mix:add_processor_by_index (plugin, 0, nil, true) == 0)

ardour = function () end
dofile (script)
factory ({}) ()

local function to_master (route, from, to)
	local panner = route:panner_shell ()
	if not panner:isnil () then panner:set_bypassed (true) end
	for side = 0, 1 do
		local port = route:output ():audio (from + side)
		port:disconnect_all ()
		assert (port:connect (master:input ():audio (to + side):name ()) == 0)
	end
end
to_master (dry, 0, 0)
to_master (mix, 0, 2)
for number, name in ipairs (stems) do
	local stem = Session:route_by_name (name):to_track ()
	stem:rec_enable_control ():set_value (0, PBD.GroupControlDisposition.NoGroup)
	stem:monitoring_control ():set_value (1, PBD.GroupControlDisposition.NoGroup)
	to_master (stem, 0, 2 + 2 * number)
end
ARDOUR.LuaAPI.usleep (500000)  -- the last connections are made by another thread
Session:save_state ("")
close_session ()
quit ()
