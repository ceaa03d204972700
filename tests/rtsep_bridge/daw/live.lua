-- ardour7-lua live.lua make SCRIPT FOLDER      tracks for the plugin's stems, and for rtsep live's
-- ardour7-lua live.lua take FOLDER SECONDS     play the song and record on all of them
-- On a JACK server.  What is printed before "begun" is Ardour's own start.
io.stdout:setvbuf ("line")
assert (AudioEngine:set_backend ("JACK", "ardour", ""))
local NG, UI = PBD.GroupControlDisposition.NoGroup, ARDOUR.TransportRequestSource.TRS_UI

local function make (script, folder)
	Session = create_session (folder, "session", 48000)
	print ("begun")
	sleep (1)
	ardour = function () end
	dofile (script)
	factory ({ from = "plugin" }) ()
	factory ({ from = "jack", prefix = "jack " }) ()
	sleep (1)
end

local function take (folder, seconds)
	Session = load_session (folder, "session")
	print ("begun")
	sleep (2)
	for route in Session:get_routes ():iter () do
		if route:name ():match ("Mix$") then
			route:to_track ():monitoring_control ():set_value (2, NG)
		end
	end
	Session:goto_start (false)
	sleep (1)
	Session:maybe_enable_record (false)
	Session:request_roll (UI)
	sleep (1)
	assert (Session:actively_recording (), "not recording")
	sleep (seconds)
	print ("at", Session:transport_sample ())
	Session:request_stop (false, false, UI)
	sleep (2)
end

local step = { make = make, take = take }
step[arg[1]] (arg[2], arg[3])
Session:save_state ("")
close_session ()
quit ()
